/*
 * Heads of packed tensors as matrices of their own, so that products over heads have
 * one stride.
 */
#ifndef KERNELS_CUDA_HEADS_H
#define KERNELS_CUDA_HEADS_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Groups of heads that lie one after the other in a packed [B, T, heads, D], each with
 * a block [B, its heads, T, D] of its own. All 16-byte aligned; D × the element's size
 * is a multiple of 16 bytes. */
struct heads {
    int64_t batch, seq_len;
    int64_t row_bytes; /* D × the element's size */
    int count;         /* groups used, 1 to 3 */
    int64_t heads[3];
    void *blocks[3];
};

/* packed → blocks */
bool heads_split(struct stream *stream, const struct heads *h, const void *packed,
        struct kernel_error *err);
/* blocks → packed */
bool heads_join(struct stream *stream, const struct heads *h, void *packed,
        struct kernel_error *err);

#ifdef __cplusplus
}
#endif

#endif
