// SPDX-License-Identifier: Apache-2.0
/*
 * flock: the CNI plugin. Hands a call to flock-agent over a unix socket and prints its answer.
 *
 * One JSON line each way (src/domain/Wire.ts is the other end). JSON is written here, never parsed: the request carries stdin
 * as a string, and of the reply only the frame `{"result":…}` or `{"error":…}` is taken off.
 *
 * Environment: CNI_* as in CNI spec 1.1.0, section 2; FLOCK_SOCKET, the agent's socket.
 * Exit: 0, or 1 with one CNI error object on stdout.
 *
 * `flock alive` is the agent's liveness probe: 0 exactly if an agent answers a call. It needs neither Node nor the HTTP port.
 */
#define _GNU_SOURCE
#include "io.h"
#include "queue.h"
#include "text.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/flock/agent.sock"
#define DIAL_AGAIN_MS 100
#define MAX_SOCKET_PATH (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

/* CNI spec 1.1.0, section 5 "Error" and section 2 "STATUS" */
enum code { BAD_ENVIRONMENT = 4, IO_FAILURE = 5, BAD_CONTENT = 6, BAD_CONFIG = 7, TRY_AGAIN = 11, UNAVAILABLE = 50 };

static struct text config, request, reply, message, output;
static version_number version = "1.1.0"; /* that of the network configuration, once it is known */
static const char *op = "", *socket_path = DEFAULT_SOCKET;
static volatile sig_atomic_t printing;
static bool probing;

static bool is_op(const char *name)
{
	return strcmp(op, name) == 0;
}

static _Noreturn void print_and_exit(const char *bytes, size_t n, bool success)
{
	printing = true;
	_exit(write_all(STDOUT_FILENO, bytes, n) && success ? 0 : 1);
}

/* Prints a CNI error: `what`, then `subject` if there is one, then the error number's text if there is one. */
static _Noreturn void fail(enum code code, const char *what, const char *subject, int error)
{
	message.used = output.used = 0;
	put_string(&message, what);
	if (subject) {
		put_string(&message, " ");
		put_string(&message, subject);
	}
	if (error) {
		put_string(&message, ": ");
		put_string(&message, strerror(error));
	}
	put_string(&output, "{\"cniVersion\":");
	put_json(&output, version, strlen(version));
	put_string(&output, ",\"code\":");
	if (code >= 10)
		put(&output, &"0123456789"[code / 10], 1);
	put(&output, &"0123456789"[code % 10], 1);
	put_string(&output, ",\"msg\":");
	put_json(&output, message.bytes, message.used);
	put_string(&output, "}\n");
	print_and_exit(output.bytes, output.used, false);
}

/* The agent did not do its part; the same call may succeed later. */
static _Noreturn void agent_failed(const char *what, const char *subject, int error)
{
	fail(is_op("STATUS") ? UNAVAILABLE : TRY_AGAIN, what, subject, error);
}

static void on_deadline(int number)
{
	(void)number;
	if (printing)
		_exit(1); /* never a second object */
	agent_failed("the call was not done before the plugin's deadline", NULL, 0);
}

static void start_deadline(void)
{
	struct sigaction action = {.sa_handler = on_deadline};
	struct itimerval timer = {.it_value = {DEADLINE_MS / 1000, DEADLINE_MS % 1000 * 1000}};
	sigset_t alarm_only;
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	sigaction(SIGALRM, &action, NULL);
	sigprocmask(SIG_UNBLOCK, &alarm_only, NULL); /* a parent may have left it blocked */
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void read_config(void)
{
	static char rest[64 * 1024];
	bool too_long = false;
	for (;;) {
		size_t room = sizeof config.bytes - config.used;
		ssize_t n = read_some(STDIN_FILENO, room ? config.bytes + config.used : rest, room ? room : sizeof rest);
		if (n < 0)
			fail(IO_FAILURE, "cannot read the network configuration from stdin", NULL, errno);
		if (n == 0)
			break;
		if (room)
			config.used += (size_t)n;
		else
			too_long = true; /* read on, so that the writer does not die of SIGPIPE */
	}
	walk_object(config.bytes, config.used, version); /* the agent says what else is wrong with it */
	if (too_long)
		fail(BAD_CONFIG, "the network configuration on stdin is larger than 1 MiB", NULL, 0);
}

static void write_request(void)
{
	static const char *const fields[][2] = {{",\"containerId\":", "CNI_CONTAINERID"}, {",\"netns\":", "CNI_NETNS"},
		{",\"ifName\":", "CNI_IFNAME"}, {",\"args\":", "CNI_ARGS"}, {",\"path\":", "CNI_PATH"}};
	put_string(&request, "{\"op\":");
	put_json(&request, op, strlen(op));
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		const char *value = getenv(fields[i][1]);
		put_string(&request, fields[i][0]);
		put_json(&request, value ? value : "", value ? strlen(value) : 0);
	}
	put_string(&request, ",\"config\":");
	put_json(&request, config.bytes, config.used);
	put_string(&request, "}\n");
	if (request.full)
		fail(BAD_CONFIG, "the call (CNI_* and stdin) is larger than 1 MiB as one JSON line", NULL, 0);
}

/* A connection to the agent, or -1 and errno. */
static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), failed;
	if (fd < 0)
		return -1;
	strncpy(address.sun_path, socket_path, MAX_SOCKET_PATH);
	do
		failed = connect(fd, (struct sockaddr *)&address, sizeof address);
	while (failed && errno == EINTR);
	if (!failed)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

/*
 * As dial(), but STATUS waits for an agent that is not there: its failure makes the node NotReady, and an agent that is being
 * replaced is no reason for that.
 */
static int dial_patiently(void)
{
	int agent = dial();
	for (int waited = 0; agent < 0 && is_op("STATUS") && waited < STATUS_WAIT_MS; waited += DIAL_AGAIN_MS) {
		poll(NULL, 0, DIAL_AGAIN_MS);
		agent = dial();
	}
	return agent;
}

/* Takes the frame off the agent's line and prints what is in it. */
static _Noreturn void print_reply(char *line, size_t n)
{
	static const char result[] = "{\"result\":", error[] = "{\"error\":";
	version_number ignored;
	bool success = n > strlen(result) && memcmp(line, result, strlen(result)) == 0;
	size_t frame = success ? strlen(result) : strlen(error);
	if (n <= frame + 1 || line[n - 1] != '}' || (!success && memcmp(line, error, frame) != 0))
		agent_failed("flock-agent's answer is neither a result nor an error", NULL, 0);
	line += frame;
	n -= frame + 1;
	if (success && n == 4 && memcmp(line, "null", n) == 0)
		_exit(0);
	if (!walk_object(line, n, ignored))
		agent_failed("flock-agent's answer is not a JSON object", NULL, 0);
	line[n] = '\n';
	print_and_exit(line, n + 1, success);
}

static _Noreturn void call(int agent)
{
	/* An agent that refuses early closes before it has read everything: its answer counts all the same. */
	write_all(agent, request.bytes, request.used);
	while (reply.used < sizeof reply.bytes) {
		char *from = reply.bytes + reply.used;
		ssize_t n = read_some(agent, from, sizeof reply.bytes - reply.used);
		if (n <= 0)
			agent_failed(reply.used ? "flock-agent closed the connection within its answer"
						: "flock-agent closed the connection without an answer",
				NULL, n < 0 ? errno : 0);
		char *newline = memchr(from, '\n', (size_t)n);
		if (newline)
			print_reply(reply.bytes, (size_t)(newline - reply.bytes));
		reply.used += (size_t)n;
	}
	agent_failed("flock-agent's answer is longer than 1 MiB", NULL, 0);
}

/*
 * Leaves the DEL for the agent. The agent holds the same lock from before it reads the queue until it listens: once the
 * lock is ours, either the agent can be reached, or it has yet to read what is written here.
 */
static _Noreturn void queue_del(void)
{
	struct queue queue;
	intent_name name;
	const char *problem = name_intent(name, getenv("CNI_CONTAINERID"), getenv("CNI_IFNAME"));
	if (problem)
		fail(BAD_ENVIRONMENT, problem, NULL, 0);
	if (request.used > MAX_INTENT_KIB * 1024)
		agent_failed("flock-agent is not running, and this DEL is larger than the " NUMBER(MAX_INTENT_KIB)
			" KiB that can wait for it", NULL, 0);
	if (!lock_queue(&queue, socket_path))
		agent_failed("flock-agent is not running, and this DEL cannot be left in", queue.path, errno);
	int agent = dial();
	if (agent >= 0) {
		unlock_queue(&queue);
		call(agent);
	}
	if (!put_intent(&queue, name, request.bytes, request.used)) {
		if (errno == EDQUOT)
			agent_failed("flock-agent is not running, and no more DELs (" NUMBER(MAX_INTENTS) ") can be left in", queue.path, 0);
		agent_failed("flock-agent is not running, and this DEL cannot be left in", queue.path, errno);
	}
	_exit(0);
}

static _Noreturn void no_agent(int error)
{
	if (is_op("DEL"))
		queue_del();
	if (!is_op("VERSION") || probing)
		agent_failed("flock-agent cannot be reached at", socket_path, error);
	put_string(&output, "{\"cniVersion\":");
	put_json(&output, version, strlen(version));
	put_string(&output, ",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n");
	print_and_exit(output.bytes, output.used, true);
}

int main(int count, char **arguments)
{
	const char *command = getenv("CNI_COMMAND"), *path = getenv("FLOCK_SOCKET");
	int fd;
	do /* a standard stream that the parent closed must not become the agent's socket */
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close(fd);
	signal(SIGPIPE, SIG_IGN);
	start_deadline();
	probing = count == 2 && strcmp(arguments[1], "alive") == 0;
	if (probing)
		command = "VERSION";
	if (!command || !*command)
		fail(BAD_ENVIRONMENT, "CNI_COMMAND is not set: flock is a CNI plugin, started by a container runtime", NULL, 0);
	op = command;
	if (path && *path)
		socket_path = path;
	if (!probing)
		read_config();
	bool needs_config = is_op("ADD") || is_op("DEL") || is_op("CHECK") || is_op("GC");
	if (!needs_config && !is_op("STATUS") && !is_op("VERSION"))
		fail(BAD_ENVIRONMENT, "CNI_COMMAND must be ADD, DEL, CHECK, GC, STATUS or VERSION, not", op, 0);
	if (needs_config && config.used == 0)
		fail(BAD_CONTENT, "stdin is empty, but the network configuration is expected there", NULL, 0);
	if (strlen(socket_path) > MAX_SOCKET_PATH)
		fail(BAD_ENVIRONMENT, "FLOCK_SOCKET is longer than the 107 bytes of a unix socket's path", NULL, 0);
	write_request();
	fd = dial_patiently();
	if (fd < 0)
		no_agent(errno);
	call(fd);
}
