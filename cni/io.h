// SPDX-License-Identifier: Apache-2.0
/* read(2) and write(2) for descriptors that may be non-blocking, as a parent's pipe can be. */
#ifndef FLOCK_IO_H
#define FLOCK_IO_H

#include <stdbool.h>
#include <sys/types.h>

ssize_t read_some(int fd, char *to, size_t n);
bool write_all(int fd, const char *bytes, size_t n);

#endif
