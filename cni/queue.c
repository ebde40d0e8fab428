// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "queue.h"
#include "io.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

const char *name_intent(intent_name to, const char *id, const char *ifname)
{
	static const char allowed[] = "-_.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t id_len = id ? strlen(id) : 0, ifname_len = ifname ? strlen(ifname) : 0;
	/* CNI spec 1.1.0, section 2 */
	if (id_len == 0 || id_len > MAX_CONTAINER_ID || strchr("-_.", id[0]) || strspn(id, allowed) != id_len)
		return "CNI_CONTAINERID must be 1 to " NUMBER(MAX_CONTAINER_ID) " letters, digits, _ . and -, a letter or digit first";
	bool plain = ifname_len > 0 && ifname_len <= MAX_IFNAME && strcmp(ifname, ".") != 0 && strcmp(ifname, "..") != 0;
	for (size_t i = 0; plain && i < ifname_len; i++)
		plain = ifname[i] > ' ' && ifname[i] <= '~' && ifname[i] != '/' && ifname[i] != ':';
	if (!plain)
		return "CNI_IFNAME must be 1 to " NUMBER(MAX_IFNAME) " printable ASCII characters without / and :";
	stpcpy(stpcpy(stpcpy(stpcpy(to, id), "@"), ifname), ".json"); /* no container ID holds an @ */
	return NULL;
}

bool lock_queue(struct queue *queue, const char *socket_path)
{
	const char *slash = strrchr(socket_path, '/');
	size_t parent = slash ? (size_t)(slash + 1 - socket_path) : 0;
	int locked = -1;
	memcpy(queue->path, socket_path, parent);
	queue->path[parent] = '\0';
	mkdir(queue->path, 0755); /* there was no agent yet since the machine started */
	stpcpy(queue->path + parent, "del-queue");
	if (mkdir(queue->path, 0700) != 0 && errno != EEXIST)
		return false;
	queue->folder = open(queue->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (queue->folder < 0)
		return false;
	queue->lock = openat(queue->folder, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	while (queue->lock >= 0 && (locked = flock(queue->lock, LOCK_EX)) < 0 && errno == EINTR)
		;
	return locked == 0;
}

void unlock_queue(struct queue *queue)
{
	close(queue->lock);
	close(queue->folder);
}

static bool is_full(int folder)
{
	DIR *entries = fdopendir(dup(folder));
	size_t count = 0;
	while (entries && readdir(entries))
		count++;
	return count >= MAX_INTENTS + 3; /* ".", ".." and "lock" */
}

bool put_intent(const struct queue *queue, const char *name, const char *line, size_t n)
{
	static const char unfinished[] = "unfinished"; /* one is enough under the lock, and none are left lying about */
	if (faccessat(queue->folder, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && is_full(queue->folder)) {
		errno = EDQUOT;
		return false;
	}
	int file = openat(queue->folder, unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file < 0)
		return false;
	if (write_all(file, line, n) && close(file) == 0 && renameat(queue->folder, unfinished, queue->folder, name) == 0)
		return true;
	int error = errno;
	unlinkat(queue->folder, unfinished, 0);
	errno = error;
	return false;
}
