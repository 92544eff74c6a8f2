/*
 * Adding up arrays in place: the arithmetic of a shared-memory reduction, without the
 * waiting.
 */
#ifndef WORKER_REDUCE_H
#define WORKER_REDUCE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/tensor.h"

/* F32, BF16, F16 and F64. */
bool reduce_supports(enum dtype type);

/*
 * parts[0] … parts[n − 1], each `count` elements of `type`, become their sum, added in
 * that order: in fp32 (F64 in fp64), rounded to nearest even once at the end.
 */
void reduce_sum(void *const *parts, int n, int64_t count, enum dtype type);

/* The same sum to `to` alone, which may be one of the parts. */
void reduce_sum_into(
        void *to, void *const *parts, int n, int64_t count, enum dtype type);

#endif
