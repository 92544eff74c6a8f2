/*
 * The fast kernels by name; contracts are in kernels.h.
 */
#ifndef KERNELS_CPU_OPS_H
#define KERNELS_CPU_OPS_H

#include "kernels/cpu/simd.h"

bool CPU(cast)(struct stream *, struct tensor *out, const struct tensor *in,
        struct kernel_error *);
bool CPU(add)(struct stream *, struct tensor *out, const struct tensor *a,
        const struct tensor *b, struct kernel_error *);
bool CPU(gelu_forward)(struct stream *, struct tensor *out, const struct tensor *in,
        struct kernel_error *);
bool CPU(gelu_backward)(struct stream *, struct tensor *din, const struct tensor *dout,
        const struct tensor *in, struct kernel_error *);
bool CPU(swiglu_forward)(struct stream *, struct tensor *out,
        const struct tensor *gate_up, struct kernel_error *);
bool CPU(swiglu_backward)(struct stream *, struct tensor *dgate_up,
        const struct tensor *dout, const struct tensor *gate_up, struct kernel_error *);
bool CPU(rope_forward)(struct stream *, struct tensor *qkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *);
bool CPU(rope_backward)(struct stream *, struct tensor *dqkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *);

bool CPU(embedding_forward)(struct stream *, struct tensor *out,
        const struct tensor *tokens, const struct tensor *token_table,
        const struct tensor *position_table, struct kernel_error *);
bool CPU(embedding_backward)(struct stream *, struct tensor *dtoken_table,
        struct tensor *dposition_table, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *tokens, bool accumulate,
        struct kernel_error *);
size_t CPU(embedding_scratch)(int64_t tokens, int64_t vocab, int64_t channels);

bool CPU(layernorm_forward)(struct stream *, struct tensor *out, struct tensor *mean,
        struct tensor *rstd, struct tensor *sum, const struct tensor *x,
        const struct tensor *y, const struct tensor *weight, const struct tensor *bias,
        struct kernel_error *);
bool CPU(layernorm_backward)(struct stream *, struct tensor *dx, struct tensor *dweight,
        struct tensor *dbias, struct tensor *scratch, const struct tensor *dsum,
        const struct tensor *dout, const struct tensor *x, const struct tensor *mean,
        const struct tensor *rstd, const struct tensor *weight, bool accumulate_weights,
        struct kernel_error *);
size_t CPU(layernorm_scratch)(int64_t rows, int64_t channels, int threads);
bool CPU(rmsnorm_forward)(struct stream *, struct tensor *out, struct tensor *rstd,
        struct tensor *sum, const struct tensor *x, const struct tensor *y,
        const struct tensor *weight, struct kernel_error *);
bool CPU(rmsnorm_backward)(struct stream *, struct tensor *dx, struct tensor *dweight,
        struct tensor *scratch, const struct tensor *dsum, const struct tensor *dout,
        const struct tensor *x, const struct tensor *rstd, const struct tensor *weight,
        bool accumulate_weights, struct kernel_error *);

bool CPU(matmul_forward)(struct stream *, struct tensor *out, struct tensor *scratch,
        const struct tensor *x, const struct tensor *weight, const struct tensor *bias,
        struct kernel_error *);
bool CPU(matmul_backward_input)(struct stream *, struct tensor *dx,
        struct tensor *scratch, const struct tensor *dout, const struct tensor *weight,
        bool accumulate, struct kernel_error *);
bool CPU(matmul_backward_weight)(struct stream *, struct tensor *dweight,
        struct tensor *dbias, struct tensor *scratch, const struct tensor *dout,
        const struct tensor *x, bool accumulate, struct kernel_error *);
size_t CPU(matmul_scratch)(
        int64_t m, int64_t n, int64_t k, enum dtype type, int threads);

const struct attention_kernel *CPU(attention)(const char *name);

bool CPU(classifier)(struct stream *, struct tensor *losses, struct tensor *correct,
        struct tensor *logits, const struct tensor *targets,
        const struct tensor *control, int64_t vocab, bool gradient, float factor,
        struct kernel_error *);

bool CPU(norm_partials)(struct stream *, struct tensor *partials,
        const struct tensor *grads, const struct tensor *owned, struct kernel_error *);
bool CPU(adamw)(struct stream *, struct tensor *weights, struct tensor *master,
        struct tensor *first_moment, struct tensor *second_moment,
        const struct tensor *grads, const struct tensor *decayed,
        const struct tensor *owned, const struct tensor *control,
        const struct adamw_options *options, struct kernel_error *);

#endif
