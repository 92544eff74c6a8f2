/*
 * What ranks add up to prove that a sum is right: whole numbers so small that sums over
 * any ranks, in any order, are exact in every type, and so mixed that each element
 * differs from its neighbours and each rank from the others. A part of the array that
 * is missing, summed twice or put elsewhere shows.
 */
#ifndef WORKER_PATTERN_H
#define WORKER_PATTERN_H

#include <stdint.h>

#include "kernels/tensor.h"

/*
 * Elements [first, first + count) of what `rank` contributes, in a host array of `type`
 * (F32, BF16 or F16).
 */
void pattern_fill(void *out, enum dtype type, int rank, int64_t first, int64_t count);

/* The sum of element `index` over ranks 0 … world − 1, at most 64. */
double pattern_sum(int world, int64_t index);

/*
 * The first of [first, first + count) that `sum`, a host array of those elements, does
 * not hold as it should; −1 where all are right. What it holds there is put in `found`.
 */
int64_t pattern_find_wrong(const void *sum, enum dtype type, int world, int64_t first,
        int64_t count, double *found);

/* Make an element of a host array what is no number. */
void pattern_break(void *out, enum dtype type, int64_t at);

#endif
