/*
 * A typed block of device memory with a shape. Plain data: whoever declares a tensor
 * owns nothing through it; the bytes belong to an arena of the caller.
 */
#ifndef KERNELS_TENSOR_H
#define KERNELS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F32,
    DTYPE_BF16,
    DTYPE_F16,
    DTYPE_F64, /* the double-precision build of the reference only */
    DTYPE_I32,
    DTYPE_U8
};

#define TENSOR_RANK_MAX 4

/* Row-major and contiguous, size[rank − 1] fastest. data NULL: an absent operand. */
struct tensor {
    void *data;
    enum dtype type;
    int rank;
    int64_t size[TENSOR_RANK_MAX];
};

size_t dtype_size(enum dtype type);
const char *dtype_name(enum dtype type);      /* "f32", "bf16", … */
int64_t tensor_count(const struct tensor *t); /* elements */
size_t tensor_bytes(const struct tensor *t);
bool tensor_given(const struct tensor *t); /* not absent: neither NULL nor data NULL */

#endif
