/*
 * y = silu(g) × u over rows of F gates, then F ups: gate_up [N, 2F], y [N, F]. A thread
 * owns a span of one row of y and with it the same span of gates and of ups: it reads
 * both before it writes either, so dgate_up may be gate_up. Spans are single elements
 * where F is not a multiple of the wide ones.
 */
#include "kernels/cuda/elementwise.cuh"

/* Where the gates and the row of y of the thread's span begin; false past the end. */
template <int SPAN>
__device__ __forceinline__ bool place(int64_t N, int64_t F, int64_t *gate, int64_t *y) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, spans = F / SPAN;
    int64_t n = i / spans, f = (i - n * spans) * SPAN;
    *gate = n * 2 * F + f;
    *y = n * F + f;
    return n < N;
}

template <class T, int SPAN>
__global__ static void forward(T *out, const T *gate_up, int64_t N, int64_t F) {
    typedef span<T, SPAN> part;
    int64_t at, to;
    if (!place<SPAN>(N, F, &at, &to)) {
        return;
    }
    part g = part::load(gate_up + at), u = part::load(gate_up + at + F), y;
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        float gate = to_float(g.at[i]);
        y.at[i] = from_float<T>(gate * sigmoid_of(expf(-gate)) * to_float(u.at[i]));
    }
    y.store(out + to);
}

template <class T, int SPAN>
__global__ static void backward(
        T *dgate_up, const T *dout, const T *gate_up, int64_t N, int64_t F) {
    typedef span<T, SPAN> part;
    int64_t at, from;
    if (!place<SPAN>(N, F, &at, &from)) {
        return;
    }
    part d = part::load(dout + from), dg, du;
    part g = part::load(gate_up + at), u = part::load(gate_up + at + F);
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        float gate = to_float(g.at[i]), up = to_float(u.at[i]), dy = to_float(d.at[i]);
        float e = expf(-gate), s = sigmoid_of(e);
        float rest = gate > 0.f ? e * s : 1.f - s; // 1 − s without cancellation
        dg.at[i] = from_float<T>(dy * up * (s * (1.f + gate * rest)));
        du.at[i] = from_float<T>(dy * (gate * s));
    }
    dg.store(dgate_up + at);
    du.store(dgate_up + at + F);
}

static unsigned blocks_of(int64_t spans) {
    return (unsigned)ceil_div(spans, ELEMENTWISE_THREADS);
}

extern "C" bool cuda_swiglu_forward(struct stream *stream, struct tensor *out,
        const struct tensor *gate_up, struct kernel_error *err) {
    int64_t F = out->size[out->rank - 1], count = tensor_count(out);
    assert(tensor_count(gate_up) == 2 * count);
    if (!same_type("swiglu", out, gate_up, err)) {
        return false;
    }
    if (count == 0) {
        return true;
    }
    DISPATCH(out->type, T, {
        constexpr int SPAN = span_of<T>();
        T *y = (T *)out->data;
        const T *x = (const T *)gate_up->data;
        if (F % SPAN == 0) {
            forward<T, SPAN><<<blocks_of(count / SPAN), ELEMENTWISE_THREADS, 0,
                    stream->handle>>>(y, x, count / F, F);
        } else {
            forward<T, 1><<<blocks_of(count), ELEMENTWISE_THREADS, 0, stream->handle>>>(
                    y, x, count / F, F);
        }
    });
    return cuda_launched("swiglu_forward", err);
}

extern "C" bool cuda_swiglu_backward(struct stream *stream, struct tensor *dgate_up,
        const struct tensor *dout, const struct tensor *gate_up,
        struct kernel_error *err) {
    int64_t F = dout->size[dout->rank - 1], count = tensor_count(dout);
    assert(tensor_count(gate_up) == 2 * count && tensor_count(dgate_up) == 2 * count);
    if (!same_type("swiglu", dgate_up, dout, err) ||
            !same_type("swiglu", dgate_up, gate_up, err)) {
        return false;
    }
    if (count == 0) {
        return true;
    }
    DISPATCH(dout->type, T, {
        constexpr int SPAN = span_of<T>();
        T *dx = (T *)dgate_up->data;
        const T *dy = (const T *)dout->data, *x = (const T *)gate_up->data;
        if (F % SPAN == 0) {
            backward<T, SPAN><<<blocks_of(count / SPAN), ELEMENTWISE_THREADS, 0,
                    stream->handle>>>(dx, dy, x, count / F, F);
        } else {
            backward<T, 1>
                    <<<blocks_of(count), ELEMENTWISE_THREADS, 0, stream->handle>>>(
                            dx, dy, x, count / F, F);
        }
    });
    return cuda_launched("swiglu_backward", err);
}
