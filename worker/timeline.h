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
};

void timeline_init(
        struct timeline *t, const struct kernels *kernels, struct stream *stream);
void timeline_finish(struct timeline *t); /* zeroed is fine */

/* From here on the stream's time belongs to `phase` (any small number ≥ 0). */
bool timeline_mark(struct timeline *t, int phase, struct text *err);

/*
 * Milliseconds between marks added up into sums[phase]; what follows the last mark
 * counts nowhere. Synchronises.
 */
bool timeline_read(struct timeline *t, double *sums, struct text *err);

#endif
