/*
 * RMSNorm over rows of x [N, C], the residual add before it fused in.
 *
 * Floors, in bytes, of elements of s bytes: forward 2·N·C·s (4·N·C·s where y is added:
 * read x and y, write sum and out); backward 3·N·C·s (4·N·C·s where dsum is given).
 */
#include "kernels/cuda/norm.cuh"

extern "C" bool cuda_rmsnorm_forward(struct stream *stream, struct tensor *out,
        struct tensor *rstd, struct tensor *sum, const struct tensor *x,
        const struct tensor *y, const struct tensor *weight, struct kernel_error *err) {
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    if (!norm_serves(C, err)) {
        return false;
    }
    bool residual = tensor_given(y);
    DISPATCH(x->type, T, {
        norm_forward_call<T> call = {(T *)out->data,
                residual ? (T *)sum->data : nullptr, (const T *)x->data,
                residual ? (const T *)y->data : nullptr, (const T *)weight->data,
                nullptr, nullptr, tensor_given(rstd) ? (float *)rstd->data : nullptr, N,
                (int)C};
        norm_forward_any<true>(call, stream->handle);
    });
    return cuda_launched("rmsnorm_forward", err);
}

extern "C" bool cuda_rmsnorm_backward(struct stream *stream, struct tensor *dx,
        struct tensor *dweight, struct tensor *scratch, const struct tensor *dsum,
        const struct tensor *dout, const struct tensor *x, const struct tensor *rstd,
        const struct tensor *weight, bool accumulate_weights,
        struct kernel_error *err) {
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    float *partials = (float *)scratch->data;
    if (!norm_serves(C, err)) {
        return false;
    }
    DISPATCH(x->type, T, {
        norm_backward_call<T> call = {(T *)dx->data,
                tensor_given(dsum) ? (const T *)dsum->data : nullptr, partials,
                (const T *)dout->data, (const T *)x->data, nullptr,
                (const float *)rstd->data, (const T *)weight->data, N,
                norm_chunk_rows(N, C), (int)C};
        norm_backward_any<true>(call, stream->handle);
    });
    if (!cuda_launched("rmsnorm_backward", err)) {
        return false;
    }
    DISPATCH(dweight->type, G,
            norm_finish_launch<G>(dweight->data, nullptr, partials, N, C,
                    accumulate_weights, stream->handle));
    return cuda_launched("rmsnorm_backward", err);
}
