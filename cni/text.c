// SPDX-License-Identifier: Apache-2.0
#include "text.h"
#include <string.h>

void put(struct text *to, const char *bytes, size_t n)
{
	if (n > sizeof to->bytes - to->used) {
		to->full = true;
		return;
	}
	memcpy(to->bytes + to->used, bytes, n);
	to->used += n;
}

void put_string(struct text *to, const char *string)
{
	put(to, string, strlen(string));
}

/* Length of the UTF-8 sequence that `s` begins with (RFC 3629, section 4), 0 if there is none. */
static size_t utf8(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
	if (len < 2 || len > n)
		return len == 1;
	if (s[1] < (s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80))
		return 0; /* longer than needed */
	if (s[1] > (s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf))
		return 0; /* a surrogate, or beyond U+10FFFF */
	for (size_t i = 2; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

void put_json(struct text *to, const char *from, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)from;
	put_string(to, "\"");
	for (size_t i = 0, len; i < n; i += len ? len : 1) {
		len = utf8(s + i, n - i);
		if (len == 0)
			put_string(to, "\\ufffd");
		else if (s[i] < 0x20)
			put(to, (char[]){'\\', 'u', '0', '0', hex[s[i] >> 4], hex[s[i] & 15]}, 6);
		else if (s[i] == '"' || s[i] == '\\')
			put(to, (char[]){'\\', from[i]}, 2);
		else
			put(to, from + i, len);
	}
	put_string(to, "\"");
}

bool walk_object(const char *s, size_t n, version_number found)
{
	size_t depth = 0;
	bool after_colon = false, is_version = false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '"') {
			const char *string = s + ++i;
			while (i < n && s[i] != '"')
				i += s[i] == '\\' ? 2 : 1;
			if (i >= n || depth == 0)
				return false;
			size_t len = (size_t)(s + i - string);
			if (depth == 1 && !after_colon) {
				is_version = len == 10 && memcmp(string, "cniVersion", len) == 0;
			} else if (depth == 1 && is_version && len > 0 && len < sizeof(version_number) &&
				   strspn(string, "0123456789.") == len) {
				memcpy(found, string, len);
				found[len] = '\0';
			}
		} else if (s[i] == '{' || (s[i] == '[' && depth > 0)) {
			depth++;
		} else if (depth == 0) {
			if (!memchr(" \t\r\n", s[i], 4))
				return false;
		} else if (s[i] == '}' || s[i] == ']') {
			if (--depth == 0)
				return i == n - 1;
		} else if (depth == 1 && (s[i] == ':' || s[i] == ',')) {
			after_colon = s[i] == ':';
		}
	}
	return false;
}
