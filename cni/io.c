// SPDX-License-Identifier: Apache-2.0
#include "io.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* Whether a failed call is worth repeating, which for a non-blocking descriptor is so once it is ready. */
static bool again(int fd, short events)
{
	if (errno == EAGAIN)
		poll(&(struct pollfd){.fd = fd, .events = events}, 1, -1);
	else if (errno != EINTR)
		return false;
	return true;
}

ssize_t read_some(int fd, char *to, size_t n)
{
	ssize_t done;
	do
		done = read(fd, to, n);
	while (done < 0 && again(fd, POLLIN));
	return done;
}

bool write_all(int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, bytes, n);
		if (done < 0 && !again(fd, POLLOUT))
			return false;
		if (done > 0) {
			bytes += done;
			n -= (size_t)done;
		}
	}
	return true;
}
