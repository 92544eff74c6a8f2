/*
 * Matrix products of fp32 blocks on one thread: C (+)= A·B. B is packed first, into
 * panels of GEMM_COLUMNS columns with their rows one after the other; A is read where
 * it is. Each element of C is a sum over k in rising order, so its bits depend neither
 * on how C is cut into blocks nor on threads.
 */
#ifndef KERNELS_CPU_GEMM_H
#define KERNELS_CPU_GEMM_H

#include "kernels/cpu/simd.h"

#define GEMM_COLUMNS (2 * VECTOR_FLOATS)

/* Rows of C that registers hold at a time. */
#if VECTOR_FLOATS == 16
#define GEMM_TALL 12
#else
#define GEMM_TALL 6
#endif

/* Rows that share one pass over a panel. */
#define GEMM_ROWS 48

/* A matrix inside a tensor: element (i, j) at `offset` + i·row + j·column, one of the
 * two strides being 1. Low-precision elements are widened, with tf32 F32 ones rounded.
 */
struct gemm_matrix {
    const struct tensor *tensor;
    int64_t offset, row, column;
    bool tf32;
};

/* Floats that packing k rows of n columns takes. */
static inline size_t gemm_packed(int64_t k, int64_t n) {
    return (size_t)((n + GEMM_COLUMNS - 1) / GEMM_COLUMNS * GEMM_COLUMNS * k);
}

/* Pack columns [first, first + count) of B (k rows) as one panel: count is at most
 * GEMM_COLUMNS, and missing columns become zeros. */
void CPU(gemm_pack)(float *panel, const struct gemm_matrix *b, int64_t k, int64_t first,
        int64_t count);

/* All n columns of B: gemm_packed(k, n) floats. */
void CPU(gemm_pack_all)(
        float *panels, const struct gemm_matrix *b, int64_t k, int64_t n);

/* Rows [first, first + count) of A (k columns) as floats: in place where they are
 * floats already, else converted into `room` (count × k floats). Tells their strides.
 */
const float *CPU(gemm_rows)(float *room, const struct gemm_matrix *a, int64_t k,
        int64_t first, int64_t count, int64_t *row, int64_t *column);

/* c[m × n, rows `stride` apart] (+)= a[m × k] · panels (+ bias[n] where given). One of
 * a's strides is 1. Panels were packed with `depth` ≥ k rows; `panels` points at the
 * first row to use. */
void CPU(gemm_block)(float *c, int64_t stride, bool accumulate, const float *bias,
        const float *a, int64_t row, int64_t column, const float *panels, int64_t depth,
        int64_t m, int64_t n, int64_t k);

#endif
