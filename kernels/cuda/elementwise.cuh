/*
 * What ops share that compute each element from those at its own place: a span of
 * elements a thread, moved by one access of 16 bytes at most, and the launch. Outputs
 * may be inputs: a thread reads its span of every operand before it writes one.
 */
#ifndef KERNELS_CUDA_ELEMENTWISE_CUH
#define KERNELS_CUDA_ELEMENTWISE_CUH

#include <assert.h>

#include "kernels/cuda/common.cuh"

/* Elements of a thread where operands' elements have these sizes: 16 bytes of the
 * widest type, so that a warp's accesses are without gaps in every operand. */
template <class... T> __host__ __device__ constexpr int span_of() {
    size_t widest = 0;
    ((widest = sizeof(T) > widest ? sizeof(T) : widest), ...);
    return (int)(16 / widest);
}

template <int BYTES> struct word_of;
template <> struct word_of<2> { typedef short type; };
template <> struct word_of<4> { typedef int type; };
template <> struct word_of<8> { typedef int2 type; };
template <> struct word_of<16> { typedef int4 type; };

/* `from` and `to` are aligned to the span's size. */
template <class T, int N> struct alignas(N * sizeof(T)) span {
    typedef typename word_of<N * sizeof(T)>::type word;
    T at[N];

    static __device__ __forceinline__ span load(const T *from) {
        span s;
        *reinterpret_cast<word *>(&s) = *reinterpret_cast<const word *>(from);
        return s;
    }
    /* For data not read again soon: leaves the caches first. */
    static __device__ __forceinline__ span load_once(const T *from) {
        span s;
        *reinterpret_cast<word *>(&s) = __ldcs(reinterpret_cast<const word *>(from));
        return s;
    }
    /* By its intrinsic: the compiler may break a plain assignment up. */
    __device__ __forceinline__ void store(T *to) const {
        __stwb(reinterpret_cast<word *>(to), *reinterpret_cast<const word *>(this));
    }
    __device__ __forceinline__ void store_once(T *to) const {
        __stcs(reinterpret_cast<word *>(to), *reinterpret_cast<const word *>(this));
    }
};

/* 1 ÷ (1 + e) within 2 ulp, for e = expf(−x) a sigmoid of x; 0 where e > 2^126. */
__device__ __forceinline__ float sigmoid_of(float e) {
    return __fdividef(1.f, 1.f + e);
}

#define ELEMENTWISE_THREADS 256

/* out[i] = F::of(in[i]…) in float, for i < count. */
template <class F, class Out, class... In>
__global__ static void elementwise(Out *out, int64_t count, const In *...in) {
    constexpr int N = span_of<Out, In...>();
    int64_t at = N * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
    if (at + N <= count) {
        auto whole = [&](const span<In, N> &...x) {
            span<Out, N> y;
#pragma unroll
            for (int i = 0; i < N; i++) {
                y.at[i] = from_float<Out>(F::of(to_float(x.at[i])...));
            }
            y.store(out + at);
        };
        whole(span<In, N>::load(in + at)...);
        return;
    }
    for (; at < count; at++) {
        out[at] = from_float<Out>(F::of(to_float(in[at])...));
    }
}

template <class F, class Out, class... In>
static bool elementwise_launch(const char *op, struct stream *stream, int64_t count,
        struct kernel_error *err, Out *out, const In *...in) {
    constexpr int64_t each = ELEMENTWISE_THREADS * span_of<Out, In...>();
    if (count == 0) {
        return true;
    }
    elementwise<F><<<(unsigned)ceil_div(count, each), ELEMENTWISE_THREADS, 0,
            stream->handle>>>(out, count, in...);
    return cuda_launched(op, err);
}

/* True where all are of one type; else `err` says that the op takes no mixture. */
static inline bool same_type(const char *op, const struct tensor *a,
        const struct tensor *b, struct kernel_error *err) {
    return a->type == b->type || kernel_fail(err, KERNEL_UNSUPPORTED,
                                         "%s on CUDA takes one type, not %s and %s", op,
                                         dtype_name(a->type), dtype_name(b->type));
}

#endif
