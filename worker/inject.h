/*
 * Faults on demand (parameter `inject`): a worker that breaks in a known way, so that
 * containment can be proven on one's own machine.
 */
#ifndef WORKER_INJECT_H
#define WORKER_INJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "worker/attempt.h"

/* Whether this rank is to suffer the cell's fault before step `step` (1 …). */
bool inject_is_due(const struct attempt *a, int64_t step);

/* Whether it is to suffer it at the beginning of that phase. */
bool inject_is_due_in(const struct attempt *a, const char *phase);

/* Refuse a fault that would never strike, in a run of `steps` steps. */
bool inject_check(struct attempt *a, int64_t steps);

/* What faults of a device happen to; a task without a device leaves it zeroed. */
struct inject_device {
    const struct kernels *kernels;
    struct stream *stream;
    int index;
};

/*
 * Suffer it. segv, abort, exit, hang and stall do not return. orphan and garbage return
 * true, the damage done; so do nan, which is for the caller to bring about, and
 * device_fault (a GPU's write to an address nobody owns), which the next look at the
 * device finds. oom_host and oom_device return false, the attempt failed; the last two
 * are unsupported on a device whose memory is the host's.
 */
bool inject_strike(struct attempt *a, const struct inject_device *device);

#endif
