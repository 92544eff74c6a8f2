/*
 * Matrix products on cuBLASLt: one place that knows which algorithm runs. Everything
 * here is row-major; batches are strided.
 *
 * Algorithms come from a table keyed by GPU, driver, library, shape, layout, types,
 * epilogue, alignment and workspace. It is filled by timing (gemm_tune) and kept in a
 * text file; a product that is not in it takes the library's first heuristic answer,
 * which is as deterministic, and remembers it for the stream's life. Nothing here
 * allocates device memory or synchronises but gemm_create(), gemm_destroy() and
 * gemm_tune(). The first use of a product may make the driver load its kernel: run a
 * step before capturing it.
 *
 * Sums run in fp32 and in one order: algorithms that split a sum and add the parts in
 * the order in which they end, or keep the parts in a narrower type, are never taken.
 * Pointers count as aligned to at most 16 bytes, so that the same product at another
 * address has the same bits.
 */
#ifndef KERNELS_CUDA_GEMM_H
#define KERNELS_CUDA_GEMM_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[m, n] = alpha · op(a) · op(b) (+ out) (+ bias over rows); op transposes or not.
 */
struct gemm_call {
    int64_t m, n, k;
    bool transpose_a, transpose_b; /* a is [k, m] where transposed, b is [n, k] */
    int64_t lda, ldb, ldout;       /* elements from row to row */
    int64_t batch;                 /* 1: no batch */
    int64_t stride_a, stride_b, stride_out; /* elements from product to product */
    enum dtype type;                        /* of a and b: F32, BF16 or F16 */
    enum dtype out_type;                    /* of out: `type` or F32 */
    float alpha;
    bool accumulate;  /* out += */
    const void *bias; /* [n] in `type`, or NULL; not with accumulate or a batch, and
                         out_type is `type` */
    const void *a, *b;
    void *out;
};

/* Reads `options->tuning`, as algorithms_read() does. */
bool gemm_create(const struct stream_options *options, struct gemm **out,
        struct kernel_error *err);
void gemm_destroy(struct gemm *g); /* NULL is fine */

/* Queue one call; `workspace` is CUDA_WORKSPACE bytes of device memory. `unsupported`
 * where the library has no algorithm. */
bool gemm_run(struct stream *stream, const struct gemm_call *call, void *workspace,
        struct kernel_error *err);

/* Time the candidates for `call`, whose pointers are ignored (a bias but for its being
 * there), unless known already. */
bool gemm_tune(
        struct stream *stream, const struct gemm_call *call, struct kernel_error *err);

#ifdef __cplusplus
}
#endif

#endif
