/*
 * What a person sees while cells run, on stderr: a line per finished cell, one per
 * finished probe of `batch: max`, and on a terminal a status line below them with the
 * running cell's live tokens/s, memory and the time still to go.
 */
#ifndef RUNNER_PROGRESS_H
#define RUNNER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "matrix/record.h"

struct progress {
    FILE *out;
    bool live;       /* a terminal: the status line may be redrawn */
    bool drawn;      /* it stands there now */
    int total, done; /* attempts */
    int64_t left_ms; /* expected, of those not finished; -1 unknown */
    int64_t spent_ms;
};

void progress_init(struct progress *p, FILE *out, int total, int64_t expected_ms);

/* A line of its own, wherever the status line stands. */
void progress_say(struct progress *p, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/*
 * One attempt has ended; `expected_ms` is what it had been expected to take, or -1,
 * `missed` the status it should have had (`expect`) and had not, else NULL.
 */
void progress_end(struct progress *p, const struct record *r, int64_t expected_ms,
        const char *missed);

/* Of a cell that had all its attempts before: the last one, as in progress_end(). */
void progress_stands(struct progress *p, const struct record *r, const char *missed);

/* One probe of the search that an attempt begins with has ended. */
void progress_probe(struct progress *p, const struct record *r);

/* Redraw the status line from the last events of the attempt in `folder`. */
void progress_draw(
        struct progress *p, const char *cell, const char *folder, int64_t running_ms);

/* Take the status line away, for other output or for good. */
void progress_clear(struct progress *p);

/* Append "1.2 s", "3 min 20 s", "2 h 5 min". */
void progress_add_duration(int64_t ms, struct text *out);

#endif
