// SPDX-License-Identifier: Apache-2.0
/*
 * The folder `del-queue` beside the agent's socket: DELs that came while there was no agent, one request line a file.
 * src/socket/DelQueue.ts is the other side. Who writes or works it off holds flock(2) on its file `lock`.
 */
#ifndef FLOCK_QUEUE_H
#define FLOCK_QUEUE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#define MAX_INTENT_KIB 64 /* of a file; with MAX_INTENTS this bounds what a tmpfs may have to hold */
#define MAX_INTENTS 4096
#define MAX_CONTAINER_ID 220 /* src/cni/spec.ts says why, and has the same rules for both names */
#define MAX_IFNAME 15 /* IFNAMSIZ - 1 */

#define QUOTED(text) #text
#define NUMBER(macro) QUOTED(macro)

typedef char intent_name[MAX_CONTAINER_ID + MAX_IFNAME + sizeof "@.json"];
_Static_assert(sizeof(intent_name) <= NAME_MAX + 1, "an intent's name is a file's name");

struct queue {
	int folder, lock;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof "del-queue"];
};

/* The file for a DEL, the same whenever it is asked for again. Returns what is wrong with the two values, or NULL. */
const char *name_intent(intent_name to, const char *container_id, const char *ifname);

/* Makes the folder if need be, and waits for its lock. On failure: errno. */
bool lock_queue(struct queue *queue, const char *socket_path);

void unlock_queue(struct queue *queue);

/* Writes or replaces an intent. On failure: errno, EDQUOT for a full queue. The lock must be held. */
bool put_intent(const struct queue *queue, const char *name, const char *line, size_t n);

#endif
