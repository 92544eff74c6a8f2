/*
 * What the CUDA kernels share on the device: one float view of three types, 16-byte
 * packs of elements, sums over a warp or block in a fixed order, and dispatch on a
 * tensor's type. Statistics and losses are float; arithmetic is float throughout.
 */
#ifndef KERNELS_CUDA_COMMON_CUH
#define KERNELS_CUDA_COMMON_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

typedef __nv_bfloat16 bf16;
typedef __half f16;

__device__ __forceinline__ float to_float(float x) {
    return x;
}
__device__ __forceinline__ float to_float(bf16 x) {
    return __bfloat162float(x);
}
__device__ __forceinline__ float to_float(f16 x) {
    return __half2float(x);
}

template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) {
    return __float2bfloat16_rn(x);
}
template <> __device__ __forceinline__ f16 from_float<f16>(float x) {
    return __float2half_rn(x);
}

/* 16 bytes of elements: 4 floats or 8 halves. */
template <class T> struct alignas(16) pack {
    enum { SIZE = 16 / sizeof(T) };
    T at[SIZE];
};

template <class T> __device__ __forceinline__ pack<T> load_pack(const T *from) {
    pack<T> p;
    *reinterpret_cast<int4 *>(&p) = *reinterpret_cast<const int4 *>(from);
    return p;
}
/* For data read once: stays out of L1, leaves L2 first. */
template <class T> __device__ __forceinline__ pack<T> load_pack_once(const T *from) {
    pack<T> p;
    *reinterpret_cast<int4 *>(&p) = __ldcs(reinterpret_cast<const int4 *>(from));
    return p;
}
/* By its intrinsic: the compiler may break a plain assignment up. */
template <class T> __device__ __forceinline__ void store_pack(T *to, const pack<T> &p) {
    __stwb(reinterpret_cast<int4 *>(to), *reinterpret_cast<const int4 *>(&p));
}

#define WARP 32
#define FULL_WARP 0xffffffffu

__device__ __forceinline__ float warp_sum(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) {
        x += __shfl_xor_sync(FULL_WARP, x, step);
    }
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) {
        x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, step));
    }
    return x;
}

/*
 * The sum over a block of at most 1,024 threads, a multiple of 32, known to all of
 * them; always in the same order. `shared` holds 32 floats and may be used again after
 * the call.
 */
__device__ __forceinline__ float block_sum(float x, float *shared) {
    int warps = (blockDim.x + WARP - 1) / WARP;
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) {
        shared[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    x = warp_sum((int)(threadIdx.x % WARP) < warps ? shared[threadIdx.x % WARP] : 0.f);
    __syncthreads();
    return x;
}

static inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/*
 * DISPATCH(type, T, statement…) runs the statement with T as the C++ type of `type`;
 * returns false from the enclosing function for a type that CUDA tables do not take.
 */
#define DISPATCH(type, T, ...)                                                         \
    switch (type) {                                                                    \
    case DTYPE_F32: {                                                                  \
        typedef float T;                                                               \
        __VA_ARGS__;                                                                   \
    } break;                                                                           \
    case DTYPE_BF16: {                                                                 \
        typedef bf16 T;                                                                \
        __VA_ARGS__;                                                                   \
    } break;                                                                           \
    case DTYPE_F16: {                                                                  \
        typedef f16 T;                                                                 \
        __VA_ARGS__;                                                                   \
    } break;                                                                           \
    default:                                                                           \
        return kernel_fail(err, KERNEL_UNSUPPORTED,                                    \
                "CUDA kernels take f32, bf16 and "                                     \
                "f16, not %s",                                                         \
                dtype_name(type));                                                     \
    }

#endif
