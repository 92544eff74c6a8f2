/*
 * Numbers for people: Markdown and the terminal use these, CSV never does. Unknown
 * (NAN) adds nothing, so that a hole stays a hole.
 */
#ifndef REPORTS_HUMAN_H
#define REPORTS_HUMAN_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"

/* How a number is written. */
enum human_kind {
    HUMAN_COUNT,   /* 1,234,567 */
    HUMAN_SHORT,   /* three digits and k, M, G: 12.3k */
    HUMAN_BYTES,   /* MiB: 12.3 MiB */
    HUMAN_MS,      /* given in ms: 12.3 ms */
    HUMAN_SECONDS, /* 12.3 s, 2 min 05 s, 1 h 02 min */
    HUMAN_RATIO,   /* 1.84× */
    HUMAN_PERCENT, /* 12.3 % */
    HUMAN_CHANGE,  /* a percentage with its sign: +12.3 %, −4.0 % */
    HUMAN_REAL,    /* four significant digits: 5.123 */
    HUMAN_PLAIN    /* a setting as one writes it: 0.001, 25, 65536 */
};

void human_number(struct text *out, enum human_kind kind, double x);

/* `before`, the number, `after`; nothing at all where it is unknown. */
void human_phrase(struct text *out, const char *before, enum human_kind kind, double x,
        const char *after);

/* "1.10× to 1.52×"; one number where the two read the same. */
void human_range(struct text *out, enum human_kind kind, double low, double high);

/* "2026-11-21 22:45:19 UTC"; nothing where it is not positive. */
void human_time(struct text *out, int64_t unix_ms);

/* "1 cell", "12 cells". */
void human_plural(struct text *out, size_t count, const char *singular);

#endif
