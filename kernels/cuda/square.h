/*
 * Attention over materialised scores: batched products around steps over whole rows,
 * which the kernels `naive` and `fused` fill in. Probabilities are kept for backward in
 * the tensors' type; dP becomes dS in place.
 *
 * The H ÷ G query heads of a key/value head are stacked, so that a product is one of
 * B·G with R = H ÷ G × T rows: it reads the shared keys once, and sums dK and dV over
 * the query heads in fp32.
 *
 * A row of scores takes T elements, rounded up to whole 16 bytes of the narrowest type;
 * a step writes 0 behind the last.
 */
#ifndef KERNELS_CUDA_SQUARE_H
#define KERNELS_CUDA_SQUARE_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of scores at work: row i is query i % T of some head. */
struct square_rows {
    int64_t rows, seq_len, pitch; /* pitch: elements from row to row, a multiple of 8 */
    int64_t window;               /* as in struct attention_shape */
    float scale;
    enum dtype type;
};

struct square_steps {
    /* Scores become probabilities, exactly 0 where a query does not see a key. */
    bool (*softmax)(struct stream *stream, void *scores, const struct square_rows *rows,
            struct kernel_error *err);
    /* dP becomes dS, the gradient of the products before the scale. */
    bool (*gradient)(struct stream *stream, void *dp, const void *p,
            const struct square_rows *rows, struct kernel_error *err);
    /* Bytes of scores to work on at a time (at least one key/value head's), so that
     * they stay in a cache; 0: all. */
    size_t part_bytes;
};

/* struct attention_kernel's three, with the steps. */
bool square_plan(const struct square_steps *steps, const struct attention_shape *shape,
        enum dtype type, struct attention_memory *out, struct kernel_error *err);
bool square_forward(const struct square_steps *steps, struct stream *stream,
        struct tensor *out, struct tensor *saved, struct tensor *scratch,
        const struct tensor *qkv, const struct attention_shape *shape,
        struct kernel_error *err);
bool square_backward(const struct square_steps *steps, struct stream *stream,
        struct tensor *dqkv, struct tensor *scratch, const struct tensor *dout,
        const struct tensor *qkv, const struct tensor *saved,
        const struct attention_shape *shape, struct kernel_error *err);

#ifdef __cplusplus
}
#endif

#endif
