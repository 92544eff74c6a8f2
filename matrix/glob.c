#include "matrix/glob.h"

#include <stddef.h>
#include <string.h>

bool glob_is_pattern(const char *s) {
    return strpbrk(s, "*?[") != NULL;
}

/* Past the `]` of the set that starts at `p`, or NULL where it never ends. */
static const char *set_end(const char *p) {
    p += p[1] == '!' ? 2 : 1;
    const char *close = *p ? strchr(p + 1, ']') : NULL; // a first `]` is a member
    return close ? close + 1 : NULL;
}

static bool set_has(const char *p, const char *end, unsigned char byte) {
    bool negated = p[1] == '!';
    bool found = false;
    for (p += negated ? 2 : 1; p < end - 1; p++) {
        unsigned char low = (unsigned char)p[0], high = low;
        if (p[1] == '-' && p + 2 < end - 1) {
            high = (unsigned char)p[2];
            p += 2;
        }
        found = found || (byte >= low && byte <= high);
    }
    return found != negated;
}

/* Where the pattern goes on once its head took `byte`; NULL where it does not. */
static const char *take(const char *p, char byte) {
    const char *end = *p == '[' ? set_end(p) : NULL;
    if (end) {
        return set_has(p, end, (unsigned char)byte) ? end : NULL;
    }
    return *p && (*p == '?' || *p == byte) ? p + 1 : NULL;
}

bool glob_matches(const char *pattern, const char *text) {
    // Only the last `*` ever needs another try: an earlier one could gain nothing.
    const char *star = NULL, *retry = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = text;
            continue;
        }
        const char *next = take(pattern, *text);
        if (next) {
            pattern = next;
            text++;
        } else if (star) {
            pattern = star;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return !*pattern;
}
