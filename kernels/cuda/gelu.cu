/*
 * The tanh form of GELU. With 1 + tanh(u) = 2 sigmoid(2u): y = x·s, and
 * y′ = s + x·s(1 − s)·(2u)′, neither of which cancels for x far below 0.
 */
#include "kernels/cuda/elementwise.cuh"

// 2u = x(ONE + CUBE·x²)
#define ONE 1.5957691216057308f
#define CUBE 0.07135481282553f

struct gelu {
    static __device__ __forceinline__ float of(float x) {
        return x * sigmoid_of(expf(-x * (ONE + CUBE * x * x)));
    }
};

struct gelu_slope {
    static __device__ __forceinline__ float of(float d, float x) {
        // Beyond these s is 0 or 1, but x² could overflow. Not fminf: NaN stays NaN.
        float c = x < -100.f ? -100.f : x > 100.f ? 100.f : x;
        float twice = c * (ONE + CUBE * c * c);
        float e = expf(-twice), s = sigmoid_of(e);
        float rest = twice > 0.f ? e * s : 1.f - s; // 1 − s without cancellation
        return d * (s + c * s * rest * (ONE + 3 * CUBE * c * c));
    }
};

extern "C" bool cuda_gelu_forward(struct stream *stream, struct tensor *out,
        const struct tensor *in, struct kernel_error *err) {
    int64_t count = tensor_count(in);
    assert(tensor_count(out) == count);
    if (!same_type("gelu", out, in, err)) {
        return false;
    }
    DISPATCH(in->type, T,
            return elementwise_launch<gelu>("gelu_forward", stream, count, err,
                    (T *)out->data, (const T *)in->data));
}

extern "C" bool cuda_gelu_backward(struct stream *stream, struct tensor *din,
        const struct tensor *dout, const struct tensor *in, struct kernel_error *err) {
    int64_t count = tensor_count(in);
    assert(tensor_count(din) == count && tensor_count(dout) == count);
    if (!same_type("gelu", din, dout, err) || !same_type("gelu", din, in, err)) {
        return false;
    }
    DISPATCH(in->type, T,
            return elementwise_launch<gelu_slope>("gelu_backward", stream, count, err,
                    (T *)din->data, (const T *)dout->data, (const T *)in->data));
}
