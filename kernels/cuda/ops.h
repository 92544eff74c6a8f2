/*
 * The CUDA kernels by name; contracts are in kernels.h.
 */
#ifndef KERNELS_CUDA_OPS_H
#define KERNELS_CUDA_OPS_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

bool cuda_normal(struct stream *, struct tensor *out, uint64_t key, int64_t first,
        float deviation, struct kernel_error *);
bool cuda_cast(struct stream *, struct tensor *out, const struct tensor *in,
        struct kernel_error *);
bool cuda_add(struct stream *, struct tensor *out, const struct tensor *a,
        const struct tensor *b, struct kernel_error *);
bool cuda_gelu_forward(struct stream *, struct tensor *out, const struct tensor *in,
        struct kernel_error *);
bool cuda_gelu_backward(struct stream *, struct tensor *din, const struct tensor *dout,
        const struct tensor *in, struct kernel_error *);
bool cuda_swiglu_forward(struct stream *, struct tensor *out,
        const struct tensor *gate_up, struct kernel_error *);
bool cuda_swiglu_backward(struct stream *, struct tensor *dgate_up,
        const struct tensor *dout, const struct tensor *gate_up, struct kernel_error *);
bool cuda_rope_forward(struct stream *, struct tensor *qkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *);
bool cuda_rope_backward(struct stream *, struct tensor *dqkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *);

bool cuda_embedding_forward(struct stream *, struct tensor *out,
        const struct tensor *tokens, const struct tensor *token_table,
        const struct tensor *position_table, struct kernel_error *);
bool cuda_embedding_backward(struct stream *, struct tensor *dtoken_table,
        struct tensor *dposition_table, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *tokens, bool accumulate,
        struct kernel_error *);
size_t cuda_embedding_scratch(int64_t tokens, int64_t vocab, int64_t channels);

bool cuda_layernorm_forward(struct stream *, struct tensor *out, struct tensor *mean,
        struct tensor *rstd, struct tensor *sum, const struct tensor *x,
        const struct tensor *y, const struct tensor *weight, const struct tensor *bias,
        struct kernel_error *);
bool cuda_layernorm_backward(struct stream *, struct tensor *dx, struct tensor *dweight,
        struct tensor *dbias, struct tensor *scratch, const struct tensor *dsum,
        const struct tensor *dout, const struct tensor *x, const struct tensor *mean,
        const struct tensor *rstd, const struct tensor *weight, bool accumulate_weights,
        struct kernel_error *);
size_t cuda_norm_scratch(int64_t rows, int64_t channels, int threads);
bool cuda_rmsnorm_forward(struct stream *, struct tensor *out, struct tensor *rstd,
        struct tensor *sum, const struct tensor *x, const struct tensor *y,
        const struct tensor *weight, struct kernel_error *);
bool cuda_rmsnorm_backward(struct stream *, struct tensor *dx, struct tensor *dweight,
        struct tensor *scratch, const struct tensor *dsum, const struct tensor *dout,
        const struct tensor *x, const struct tensor *rstd, const struct tensor *weight,
        bool accumulate_weights, struct kernel_error *);

bool cuda_matmul_forward(struct stream *, struct tensor *out, struct tensor *scratch,
        const struct tensor *x, const struct tensor *weight, const struct tensor *bias,
        struct kernel_error *);
bool cuda_matmul_backward_input(struct stream *, struct tensor *dx,
        struct tensor *scratch, const struct tensor *dout, const struct tensor *weight,
        bool accumulate, struct kernel_error *);
bool cuda_matmul_backward_weight(struct stream *, struct tensor *dweight,
        struct tensor *dbias, struct tensor *scratch, const struct tensor *dout,
        const struct tensor *x, bool accumulate, struct kernel_error *);
size_t cuda_matmul_scratch(
        int64_t m, int64_t n, int64_t k, enum dtype type, int threads);

bool cuda_matmul_tune(
        struct stream *, const struct matmul_problem *problem, struct kernel_error *);
bool cuda_tuning_save(struct stream *, const char *path, struct kernel_error *);
void cuda_tuning_digest(struct stream *, char digest[17]);

const struct attention_kernel *cuda_attention(const char *name);
extern const struct attention_kernel cuda_naive, cuda_fused;
#ifdef LM_CUDNN
extern const struct attention_kernel cuda_cudnn;
#endif

bool cuda_classifier(struct stream *, struct tensor *losses, struct tensor *correct,
        struct tensor *logits, const struct tensor *targets,
        const struct tensor *control, int64_t vocab, bool gradient, float factor,
        struct kernel_error *);

bool cuda_loss_sum(struct stream *, struct tensor *control, const struct tensor *losses,
        const struct tensor *correct, float factor, bool accumulate,
        struct kernel_error *);

bool cuda_norm_partials(struct stream *, struct tensor *partials,
        const struct tensor *grads, const struct tensor *owned, struct kernel_error *);
bool cuda_clip(struct stream *, struct tensor *control, const struct tensor *partials,
        const struct clip_options *options, struct kernel_error *);
bool cuda_adamw(struct stream *, struct tensor *weights, struct tensor *master,
        struct tensor *first_moment, struct tensor *second_moment,
        const struct tensor *grads, const struct tensor *decayed,
        const struct tensor *owned, const struct tensor *control,
        const struct adamw_options *options, struct kernel_error *);

#ifdef __cplusplus
}
#endif

#endif
