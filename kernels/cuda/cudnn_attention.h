/*
 * Causal attention as the graphs of operations in which cuDNN recognises its fused
 * kernels: the same steps that NVIDIA's frontend composes, in the same order.
 */
#ifndef KERNELS_CUDA_CUDNN_ATTENTION_H
#define KERNELS_CUDA_CUDNN_ATTENTION_H

#include "kernels/cuda/cudnn_graph.h"

enum cudnn_pass { CUDNN_PASS_FORWARD, CUDNN_PASS_BACKWARD };

/*
 * What a plan is made for: some heads of some sequences. `shape.deterministic` matters
 * to backward only.
 */
struct cudnn_problem {
    enum cudnn_pass pass;
    enum dtype type; /* DTYPE_BF16 or DTYPE_F16 */
    struct attention_shape shape;
    int64_t row_heads, row_kv_heads; /* H and G of the tensors that hold the shape's */
};

/*
 * Identities of a graph's operands; scalars lie on the host, the rest on the device.
 * Their sizes here are those of all heads.
 */
enum cudnn_operand {
    OPERAND_Q = 1, /* inside qkv [B, T, H + 2G, D], as K and V */
    OPERAND_K,
    OPERAND_V,
    OPERAND_OUT,   /* [B, T, H, D] */
    OPERAND_STATS, /* F32 [B, H, T]: log-sum-exp of a row's scores */
    OPERAND_DOUT,
    OPERAND_DQ, /* inside dqkv, as DK and DV */
    OPERAND_DK,
    OPERAND_DV,
    OPERAND_ROW_SUMS, /* F32 [B, H, T]: scratch, dout · out */
    OPERAND_DQ_SUMS,  /* F32 [B, H, T, D]: scratch, where not deterministic */
    OPERAND_QUERIES,  /* I32 [B]: T, where the graph is padded */
    OPERAND_KEYS,
    OPERAND_FIRST_SCALAR,
    OPERAND_SCALE = OPERAND_FIRST_SCALAR, /* 1/√D */
    OPERAND_ONE,
    OPERAND_WINDOW,
    OPERAND_OUTSIDE_CAUSE, /* −∞, once per mask */
    OPERAND_OUTSIDE_WINDOW,
    OPERAND_OUTSIDE_LENGTH,
    OPERAND_COUNT
};

/* True where this version of cuDNN needs a mask of lengths to serve the problem. */
bool cudnn_attention_is_padded(const struct cudnn_problem *problem, size_t version);

/* Append the problem's operations to `g`. */
void cudnn_attention_describe(
        struct cudnn_graph *g, const struct cudnn_problem *problem);

#endif
