/* Device events along one step, and the time between them by phase. */
#ifndef WORKER_TIMELINE_H
#define WORKER_TIMELINE_H

#include <stdbool.h>

#include "kernels/kernels.h"
#include "matrix/text.h"

struct timeline {
    const struct kernels *kernels;
    struct stream *stream;
    struct timeline_mark {
        struct device_event *event;
        int phase; /* what the time after the event belongs to */
    } * marks;
    int count, capacity;
    const int *of_op; /* not owned: what each op of a program belongs to, and then every
                         mark is made; NULL: an op belongs to its phase */
};

void timeline_init(
        struct timeline *t, const struct kernels *kernels, struct stream *stream);
void timeline_finish(struct timeline *t); /* zeroed is fine */

/* From here on the stream's time belongs to `phase` (any small number ≥ 0); where it
 * does already, nothing is marked but by `of_op`. */
bool timeline_mark(struct timeline *t, int phase, struct text *err);

/* The same before op `index` of a program, in `phase`. */
bool timeline_mark_op(struct timeline *t, int index, int phase, struct text *err);

/* The first mark happens again, now. */
bool timeline_mark_again(struct timeline *t, struct text *err);

/*
 * Milliseconds between marks added up into sums[phase]; what follows the last mark
 * counts nowhere. Synchronises.
 */
bool timeline_read(struct timeline *t, double *sums, struct text *err);

#endif
