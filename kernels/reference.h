/*
 * The references: every kernel in plain C, as its mathematics reads, without threads,
 * blocking or intrinsics. Each kernels/<op>.c is built twice: with real = float its
 * names end in _ref, with real = double (REFERENCE64) in _ref64. Operands of every type
 * are converted on load and store; sums are kept in double. Contracts are in kernels.h.
 */
#ifndef KERNELS_REFERENCE_H
#define KERNELS_REFERENCE_H

#include <assert.h>

#include "kernels/convert.h"
#include "kernels/host.h"
#include "kernels/kernels.h"

#ifdef REFERENCE64
typedef double real;
#define REF(name) name##_ref64
#else
typedef float real;
#define REF(name) name##_ref
#endif

static inline real load(const struct tensor *t, int64_t i) {
    switch (t->type) {
    case DTYPE_F32:
        return ((const float *)t->data)[i];
    case DTYPE_BF16:
        return f32_from_bf16(((const uint16_t *)t->data)[i]);
    case DTYPE_F16:
        return f32_from_f16(((const uint16_t *)t->data)[i]);
    case DTYPE_F64:
        return (real)((const double *)t->data)[i];
    case DTYPE_I32:
    case DTYPE_U8:
        break;
    }
    assert(!"a tensor of reals");
    return 0;
}

/* Rounds once, from double straight to the tensor's type. */
static inline void store(const struct tensor *t, int64_t i, double value) {
    switch (t->type) {
    case DTYPE_F32:
        ((float *)t->data)[i] = (float)value;
        return;
    case DTYPE_BF16:
        ((uint16_t *)t->data)[i] = bf16_from_f32(f32_from_f64_odd(value));
        return;
    case DTYPE_F16:
        ((uint16_t *)t->data)[i] = f16_from_f32(f32_from_f64_odd(value));
        return;
    case DTYPE_F64:
        ((double *)t->data)[i] = value;
        return;
    case DTYPE_I32:
    case DTYPE_U8:
        break;
    }
    assert(!"a tensor of reals");
}

/* An operand of a product, as the stream's math reads it. */
static inline real load_operand(
        const struct stream *stream, const struct tensor *t, int64_t i) {
    real value = load(t, i);
    return t->type == DTYPE_F32 && stream->options.math == MATH_TF32
                   ? f32_to_tf32((float)value)
                   : value;
}

/* `value` for an accumulating output: what was there plus it. */
static inline void store_sum(
        const struct tensor *t, int64_t i, double value, bool accumulate) {
    store(t, i, accumulate ? (double)load(t, i) + value : value);
}

static inline int32_t load_index(const struct tensor *t, int64_t i) {
    return ((const int32_t *)t->data)[i];
}

bool REF(cast)(struct stream *, struct tensor *out, const struct tensor *in,
        struct kernel_error *);
bool REF(add)(struct stream *, struct tensor *out, const struct tensor *a,
        const struct tensor *b, struct kernel_error *);
bool REF(gelu_forward)(struct stream *, struct tensor *out, const struct tensor *in,
        struct kernel_error *);
bool REF(gelu_backward)(struct stream *, struct tensor *din, const struct tensor *dout,
        const struct tensor *in, struct kernel_error *);
bool REF(swiglu_forward)(struct stream *, struct tensor *out,
        const struct tensor *gate_up, struct kernel_error *);
bool REF(swiglu_backward)(struct stream *, struct tensor *dgate_up,
        const struct tensor *dout, const struct tensor *gate_up, struct kernel_error *);
bool REF(rope_forward)(struct stream *, struct tensor *qkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *);
bool REF(rope_backward)(struct stream *, struct tensor *dqkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *);

bool REF(embedding_forward)(struct stream *, struct tensor *out,
        const struct tensor *tokens, const struct tensor *token_table,
        const struct tensor *position_table, struct kernel_error *);
bool REF(embedding_backward)(struct stream *, struct tensor *dtoken_table,
        struct tensor *dposition_table, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *tokens, bool accumulate,
        struct kernel_error *);
size_t REF(embedding_scratch)(int64_t tokens, int64_t vocab, int64_t channels);

bool REF(layernorm_forward)(struct stream *, struct tensor *out, struct tensor *mean,
        struct tensor *rstd, struct tensor *sum, const struct tensor *x,
        const struct tensor *y, const struct tensor *weight, const struct tensor *bias,
        struct kernel_error *);
bool REF(layernorm_backward)(struct stream *, struct tensor *dx, struct tensor *dweight,
        struct tensor *dbias, struct tensor *scratch, const struct tensor *dsum,
        const struct tensor *dout, const struct tensor *x, const struct tensor *mean,
        const struct tensor *rstd, const struct tensor *weight, bool accumulate_weights,
        struct kernel_error *);
size_t REF(layernorm_scratch)(int64_t rows, int64_t channels, int threads);
bool REF(rmsnorm_forward)(struct stream *, struct tensor *out, struct tensor *rstd,
        struct tensor *sum, const struct tensor *x, const struct tensor *y,
        const struct tensor *weight, struct kernel_error *);
bool REF(rmsnorm_backward)(struct stream *, struct tensor *dx, struct tensor *dweight,
        struct tensor *scratch, const struct tensor *dsum, const struct tensor *dout,
        const struct tensor *x, const struct tensor *rstd, const struct tensor *weight,
        bool accumulate_weights, struct kernel_error *);

bool REF(matmul_forward)(struct stream *, struct tensor *out, struct tensor *scratch,
        const struct tensor *x, const struct tensor *weight, const struct tensor *bias,
        struct kernel_error *);
bool REF(matmul_backward_input)(struct stream *, struct tensor *dx,
        struct tensor *scratch, const struct tensor *dout, const struct tensor *weight,
        bool accumulate, struct kernel_error *);
bool REF(matmul_backward_weight)(struct stream *, struct tensor *dweight,
        struct tensor *dbias, struct tensor *scratch, const struct tensor *dout,
        const struct tensor *x, bool accumulate, struct kernel_error *);
size_t REF(matmul_scratch)(
        int64_t m, int64_t n, int64_t k, enum dtype type, int threads);

const struct attention_kernel *REF(attention)(const char *name);

bool REF(classifier)(struct stream *, struct tensor *losses, struct tensor *correct,
        struct tensor *logits, const struct tensor *targets,
        const struct tensor *control, int64_t vocab, bool gradient, float factor,
        struct kernel_error *);
bool REF(loss_sum)(struct stream *, struct tensor *control, const struct tensor *losses,
        const struct tensor *correct, float factor, bool accumulate,
        struct kernel_error *);

bool REF(norm_partials)(struct stream *, struct tensor *partials,
        const struct tensor *grads, const struct tensor *owned, struct kernel_error *);
bool REF(clip)(struct stream *, struct tensor *control, const struct tensor *partials,
        const struct clip_options *options, struct kernel_error *);
bool REF(adamw)(struct stream *, struct tensor *weights, struct tensor *master,
        struct tensor *first_moment, struct tensor *second_moment,
        const struct tensor *grads, const struct tensor *decayed,
        const struct tensor *owned, const struct tensor *control,
        const struct adamw_options *options, struct kernel_error *);

#endif
