/*
 * Steps over rows of scores: a warp takes a short row, a block a long one. What the
 * kernels `naive` and `fused` share on the device.
 */
#ifndef KERNELS_CUDA_ROW_CUH
#define KERNELS_CUDA_ROW_CUH

#include <assert.h>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/square.h"

enum { ROW_THREADS = 256 }; /* a block: eight short rows or one long one */

/* A row at work. Its lanes take its packs in turn. */
template <class T> struct row {
    enum { SIZE = pack<T>::SIZE };
    int64_t at;    /* of its first element */
    int lane;      /* of LANES */
    int columns;   /* T */
    int packs;     /* of the whole pitch */
    int low, high; /* keys that its query sees: from low to high, inclusive */
};

/* False for the rows behind the last, whose warp has nothing to do. */
template <class T, int LANES>
__device__ __forceinline__ bool take_row(row<T> *r, const square_rows &s) {
    int64_t index = (int64_t)blockIdx.x * (ROW_THREADS / LANES) + threadIdx.x / LANES;
    if (index >= s.rows) {
        return false;
    }
    int64_t query = index % s.seq_len;
    r->at = index * s.pitch;
    r->lane = threadIdx.x % LANES;
    r->columns = (int)s.seq_len;
    r->packs = (int)(s.pitch / row<T>::SIZE);
    r->high = (int)query;
    r->low = s.window > 0 && query >= s.window ? (int)(query - s.window + 1) : 0;
    return true;
}

template <class T> __device__ __forceinline__ bool sees(const row<T> &r, int column) {
    return column >= r.low && column <= r.high;
}

/* Over the lanes of a row, known to all of them, in a fixed order; a block's lanes all
 * take part. */
template <int LANES> __device__ __forceinline__ float row_sum(float x) {
    if (LANES == WARP) {
        return warp_sum(x);
    }
    __shared__ float shared[WARP];
    return block_sum(x, shared);
}

template <int LANES> __device__ __forceinline__ float row_max(float x) {
    x = warp_max(x);
    if (LANES == WARP) {
        return x;
    }
    __shared__ float shared[WARP];
    if (threadIdx.x % WARP == 0) {
        shared[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    x = warp_max(shared[threadIdx.x % WARP % (ROW_THREADS / WARP)]);
    __syncthreads();
    return x;
}

/* Launches kernel<T, LANES>(…, s) over rows s. */
#define ROW_LAUNCH(kernel, T, stream, s, ...)                                          \
    if ((s)->pitch <= 2048) {                                                          \
        kernel<T, WARP><<<row_blocks((s), ROW_THREADS / WARP), ROW_THREADS, 0,         \
                (stream)->handle>>>(__VA_ARGS__, *(s));                                \
    } else {                                                                           \
        kernel<T, ROW_THREADS>                                                         \
                <<<row_blocks((s), 1), ROW_THREADS, 0, (stream)->handle>>>(            \
                        __VA_ARGS__, *(s));                                            \
    }

static inline unsigned row_blocks(const struct square_rows *s, int64_t rows_each) {
    int64_t blocks = ceil_div(s->rows, rows_each);
    assert(blocks <= INT32_MAX && s->pitch <= INT32_MAX);
    return (unsigned)blocks;
}

#endif
