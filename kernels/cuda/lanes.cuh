/*
 * What one thread handles of a row: W neighbouring elements, moved in 16-byte accesses
 * where they fill them (W = 4 or 8), one by one where a row's length is odd (W = 1).
 */
#ifndef KERNELS_CUDA_LANES_CUH
#define KERNELS_CUDA_LANES_CUH

#include "kernels/cuda/common.cuh"

template <class T, int W> struct alignas(W == 1 ? sizeof(T) : 16) lanes { T at[W]; };

template <int W, class T>
__device__ __forceinline__ lanes<T, W> load_lanes(const T *from) {
    static_assert(W == 1 || W * sizeof(T) % 16 == 0, "whole 16-byte accesses");
    lanes<T, W> x;
    if constexpr (W == 1) {
        x.at[0] = *from;
    } else {
#pragma unroll
        for (int i = 0; i < (int)(W * sizeof(T) / 16); i++) {
            reinterpret_cast<int4 *>(&x)[i] = reinterpret_cast<const int4 *>(from)[i];
        }
    }
    return x;
}

template <int W, class T>
__device__ __forceinline__ void store_lanes(T *to, const lanes<T, W> &x) {
    if constexpr (W == 1) {
        *to = x.at[0];
    } else {
#pragma unroll
        for (int i = 0; i < (int)(W * sizeof(T) / 16); i++) {
            // By its intrinsic: the compiler may break a plain assignment up.
            __stwb(reinterpret_cast<int4 *>(to) + i,
                    reinterpret_cast<const int4 *>(&x)[i]);
        }
    }
}

/* to[0 … W) (+)= value. */
template <int W, class T>
__device__ __forceinline__ void put_lanes(T *to, const float *value, bool accumulate) {
    lanes<T, W> x;
    if (accumulate) {
        x = load_lanes<W>(to);
#pragma unroll
        for (int j = 0; j < W; j++) {
            x.at[j] = from_float<T>(to_float(x.at[j]) + value[j]);
        }
    } else {
#pragma unroll
        for (int j = 0; j < W; j++) {
            x.at[j] = from_float<T>(value[j]);
        }
    }
    store_lanes<W>(to, x);
}

/* Threads for rows of `units` lanes each: x along the row, y over rows. */
static inline dim3 row_block(int64_t units) {
    unsigned width = units < 256 ? (unsigned)ceil_div(units, WARP) * WARP : 256;
    return dim3(width, 256 / width);
}

#endif
