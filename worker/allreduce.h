/*
 * Task allreduce: how long the ranks at hand take to add up an array of each size of
 * the curve (matrix/curve.h), and whether the sums are right.
 */
#ifndef WORKER_ALLREDUCE_H
#define WORKER_ALLREDUCE_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/axes.h"
#include "matrix/text.h"
#include "worker/attempt.h"

/* Refuse what has no such task: one rank, or a precision that no element has. */
bool allreduce_check(const struct params *params, struct text *err);

/* Bytes of the array on each rank, as far as the cell's memory_limit allows: the host
 * or the device may turn out to have less. */
int64_t allreduce_planned_bytes(const struct params *params);

/*
 * Run it, events included. False, the attempt failed, where something is refused or a
 * sum is wrong; then nothing is undone, for the process is about to end.
 */
bool allreduce_run(struct attempt *a);

#endif
