/*
 * Shell patterns: `*` any run of bytes, `?` one, `[abc]`, `[a-z]` and `[!…]` one of a
 * set; anything else stands for itself. Time is at most pattern × text, whatever the
 * pattern, which the C library's fnmatch() does not promise.
 */
#ifndef MATRIX_GLOB_H
#define MATRIX_GLOB_H

#include <stdbool.h>

/* Whether `s` has a character that makes it a pattern. */
bool glob_is_pattern(const char *s);

/* Whether `pattern` describes the whole of `text`. */
bool glob_matches(const char *pattern, const char *text);

#endif
