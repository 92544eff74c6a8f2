/*
 * Small kernels around matrix products: what stands in a buffer before one, and a
 * fingerprint of what stands there after.
 */
#ifndef KERNELS_CUDA_FILL_H
#define KERNELS_CUDA_FILL_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every row of out [rows, columns], `ld` elements apart, becomes `row` [columns], of
 * the same type. */
bool fill_rows(struct stream *stream, void *out, enum dtype type, int64_t rows,
        int64_t columns, int64_t ld, const void *row, struct kernel_error *err);

/* `count` elements from −1 to 1 that depend on their position alone. */
bool fill_random(struct stream *stream, void *out, enum dtype type, int64_t count,
        struct kernel_error *err);

/* *sum += a hash of `words` 16-bit words at `data` and of their places. The additions
 * are of integers: their order does not matter. */
bool fill_hash(struct stream *stream, unsigned long long *sum, const void *data,
        int64_t words, struct kernel_error *err);

/*
 * A kernel for a node of a graph, one block of FILL_SMALL_THREADS: (void *out, unsigned
 * value, int size, int count) sets `count` elements of `size` bytes to the lowest of
 * `value`.
 */
enum { FILL_SMALL_THREADS = 32 };
void *fill_small_kernel(void);

#ifdef __cplusplus
}
#endif

#endif
