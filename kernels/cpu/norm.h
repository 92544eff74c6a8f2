/*
 * What the two normalisations share: weight gradients as sums over blocks of rows,
 * whose number depends on the rows alone.
 */
#ifndef KERNELS_CPU_NORM_H
#define KERNELS_CPU_NORM_H

#include "kernels/cpu/simd.h"

static inline int64_t norm_blocks(int64_t rows) {
    int64_t blocks = (rows + 31) / 32;
    return blocks < 1 ? 1 : min_of(blocks, 64);
}

/* gradient (+)= the blocks' partial sums, `stride` floats apart, in order. */
static inline void norm_sum_blocks(const struct tensor *gradient, const float *partial,
        int64_t blocks, int64_t stride, bool accumulate) {
    int64_t C = tensor_count(gradient);
    for (int64_t c = 0; c < C; c += CHUNK) {
        float sum[CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, C - c);
        memset(sum, 0, sizeof(sum));
        if (accumulate) {
            load_floats(sum, gradient, c, n);
        }
        for (int64_t block = 0; block < blocks; block++) {
            const float *from = partial + block * stride + c;
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                sum[i] += from[i];
            }
        }
        store_floats(gradient, c, sum, n);
    }
}

#endif
