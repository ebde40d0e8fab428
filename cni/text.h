// SPDX-License-Identifier: Apache-2.0
/* Bounded text, and as much of JSON as the plugin needs: writing strings, and finding an object's end. No I/O. */
#ifndef FLOCK_TEXT_H
#define FLOCK_TEXT_H

#include <stdbool.h>
#include <stddef.h>

enum { MAX_LINE = 1024 * 1024 /* bytes of one line on the wire, newline included */ };

/* Too large for a stack. As a static object, pages that are not touched cost nothing. */
struct text {
	size_t used;
	bool full; /* something did not fit and was left out */
	char bytes[MAX_LINE];
};

typedef char version_number[16];

void put(struct text *to, const char *bytes, size_t n);
void put_string(struct text *to, const char *string);

/* Appends a JSON string. Bytes that are not UTF-8 become U+FFFD. */
void put_json(struct text *to, const char *from, size_t n);

/*
 * Walks over a JSON object by its brackets and strings alone. Says whether it ends exactly at the end, and keeps the
 * value of its own "cniVersion" (not one further inside, such as prevResult's) in `found` if that is a version number.
 */
bool walk_object(const char *s, size_t n, version_number found);

#endif
