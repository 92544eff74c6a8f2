/*
 * LayerNorm and RMSNorm are one kernel each way, RMS telling them apart: the latter
 * has neither mean nor bias. x [N, C]; a row stays in its threads' registers from the
 * one read to the one write.
 *
 * Forward: a thread holds 32 elements, so a warp does a row up to C = 1,024 and a block
 * of at most 512 threads one up to 16,384.
 *
 * Backward: a block walks a chunk of rows, keeping each channel's weight gradient in
 * the registers of one thread, and leaves it in partials [chunks, 2 or 1, C]; a second
 * kernel adds those up in their order. Chunks follow from N and C alone. A thread has
 * as few elements as 512 threads allow: 1 load, else 16 elements, else (C over 8,192)
 * 32, where alone registers spill.
 */
#ifndef KERNELS_CUDA_NORM_CUH
#define KERNELS_CUDA_NORM_CUH

#include "kernels/cuda/lanes.cuh"

#define NORM_EPSILON 1e-5f
#define NORM_THREADS 512
#define NORM_HELD 32 /* elements a thread can hold */
#define NORM_CHANNELS (NORM_THREADS * NORM_HELD)

/* Enough blocks of C ÷ 8 threads to fill a large device, and few enough partials. */
static inline int64_t norm_chunk_rows(int64_t N, int64_t C) {
    int64_t most = (1 << 20) / C;
    most = most < 128 ? 128 : most > 1024 ? 1024 : most;
    int64_t rows = ceil_div(N, most);
    return rows < 4 ? 4 : rows;
}

static inline int64_t norm_chunks(int64_t N, int64_t C) {
    return ceil_div(N, norm_chunk_rows(N, C));
}

template <class T> struct norm_forward_call {
    T *out, *sum;           // [N, C]; sum only where y is
    const T *x, *y;         // [N, C]; y may be NULL
    const T *weight, *bias; // [C]; bias is NULL under RMS
    float *mean, *rstd;     // [N], or NULL
    int64_t N;
    int C;
};

template <class T, int W, bool RMS, bool WARP_ROWS>
__global__ static void __launch_bounds__(NORM_THREADS)
        norm_forward(const norm_forward_call<T> k) {
    enum { HELD = NORM_HELD / W };
    __shared__ float shared[WARP];
    int64_t row = WARP_ROWS ? (int64_t)blockIdx.x * blockDim.y + threadIdx.y
                            : (int64_t)blockIdx.x;
    if (row >= k.N) {
        return; // whole warps, and none of a block that synchronises
    }
    auto all = [&](float x) { return WARP_ROWS ? warp_sum(x) : block_sum(x, shared); };
    auto channel = [&](int i) { return (i * (int)blockDim.x + (int)threadIdx.x) * W; };
    int64_t at = row * k.C;
    lanes<T, W> x[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        if (channel(i) < k.C) {
            x[i] = load_lanes<W>(k.x + at + channel(i));
        }
    }
    if (k.y) {
        lanes<T, W> y[HELD];
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            if (channel(i) < k.C) {
                y[i] = load_lanes<W>(k.y + at + channel(i));
            }
        }
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            if (channel(i) < k.C) {
#pragma unroll
                for (int j = 0; j < W; j++) {
                    x[i].at[j] =
                            from_float<T>(to_float(x[i].at[j]) + to_float(y[i].at[j]));
                }
                store_lanes<W>(k.sum + at + channel(i), x[i]);
            }
        }
    }
    float total = 0, mean = 0;
    if constexpr (!RMS) {
#pragma unroll
        for (int i = 0; i < HELD; i++) {
#pragma unroll
            for (int j = 0; j < W; j++) {
                total += channel(i) < k.C ? to_float(x[i].at[j]) : 0;
            }
        }
        mean = all(total) / (float)k.C;
        total = 0;
    }
#pragma unroll
    for (int i = 0; i < HELD; i++) {
#pragma unroll
        for (int j = 0; j < W; j++) {
            float apart = channel(i) < k.C ? to_float(x[i].at[j]) - mean : 0;
            total += apart * apart;
        }
    }
    float rstd = 1 / sqrtf(all(total) / (float)k.C + NORM_EPSILON);
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        int c = channel(i);
        if (c < k.C) {
            lanes<T, W> w = load_lanes<W>(k.weight + c), b;
            if constexpr (!RMS) {
                b = load_lanes<W>(k.bias + c);
            }
#pragma unroll
            for (int j = 0; j < W; j++) {
                float hat = (to_float(x[i].at[j]) - mean) * rstd;
                float value = hat * to_float(w.at[j]);
                x[i].at[j] = from_float<T>(RMS ? value : value + to_float(b.at[j]));
            }
            store_lanes<W>(k.out + at + c, x[i]);
        }
    }
    if (threadIdx.x == 0) {
        if (k.mean) {
            k.mean[row] = mean;
        }
        if (k.rstd) {
            k.rstd[row] = rstd;
        }
    }
}

template <bool RMS, class T, int W>
static void norm_forward_launch(const norm_forward_call<T> &call, cudaStream_t stream) {
    if (call.C <= WARP * NORM_HELD) {
        dim3 block(WARP, 4);
        norm_forward<T, W, RMS, true>
                <<<(unsigned)ceil_div(call.N, block.y), block, 0, stream>>>(call);
    } else {
        unsigned threads = (unsigned)ceil_div(call.C, WARP * NORM_HELD) * WARP;
        norm_forward<T, W, RMS, false><<<(unsigned)call.N, threads, 0, stream>>>(call);
    }
}

template <bool RMS, class T>
static void norm_forward_any(const norm_forward_call<T> &call, cudaStream_t stream) {
    if (call.C % pack<T>::SIZE == 0) {
        norm_forward_launch<RMS, T, pack<T>::SIZE>(call, stream);
    } else {
        norm_forward_launch<RMS, T, 1>(call, stream);
    }
}

template <class T> struct norm_backward_call {
    T *dx;                    // [N, C]
    const T *dsum;            // [N, C], may be dx; NULL: nothing is added
    float *partials;          // [chunks, RMS ? 1 : 2, C]: weight, then bias
    const T *dout, *x;        // [N, C]
    const float *mean, *rstd; // [N]; mean is NULL under RMS
    const T *weight;          // [C]
    int64_t N, rows;          // rows of a chunk
    int C;
};

/* Both sums over the block; `shared` is not touched again before the next but one
 * call's. */
__device__ __forceinline__ float2 norm_sums(float2 x, float2 *shared) {
    x = make_float2(warp_sum(x.x), warp_sum(x.y));
    if (blockDim.x == WARP) {
        return x;
    }
    unsigned lane = threadIdx.x % WARP;
    if (lane == 0) {
        shared[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    x = lane < blockDim.x / WARP ? shared[lane] : make_float2(0, 0);
    return make_float2(warp_sum(x.x), warp_sum(x.y));
}

template <class T, int W, int HELD, bool RMS>
__global__ static void __launch_bounds__(NORM_THREADS)
        norm_backward(const norm_backward_call<T> k) {
    // Two rooms by turns: one barrier a row is enough.
    __shared__ float2 shared[2][NORM_THREADS / WARP];
    auto channel = [&](int i) { return (i * (int)blockDim.x + (int)threadIdx.x) * W; };
    float dweight[HELD][W] = {}, dbias[HELD][W] = {};
    lanes<T, W> w[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        if (channel(i) < k.C) {
            w[i] = load_lanes<W>(k.weight + channel(i));
        }
    }
    int64_t first = blockIdx.x * k.rows, last = min(first + k.rows, k.N);
    for (int64_t n = first; n < last; n++) {
        int64_t at = n * k.C;
        lanes<T, W> x[HELD], d[HELD];
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            if (channel(i) < k.C) {
                x[i] = load_lanes<W>(k.x + at + channel(i));
                d[i] = load_lanes<W>(k.dout + at + channel(i));
            }
        }
        float mean = RMS ? 0 : k.mean[n], rstd = k.rstd[n];
        float2 sums = make_float2(0, 0); // of g = dout × weight; g × x̂
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            if (channel(i) < k.C) {
#pragma unroll
                for (int j = 0; j < W; j++) {
                    float hat = (to_float(x[i].at[j]) - mean) * rstd;
                    float dout = to_float(d[i].at[j]), g = dout * to_float(w[i].at[j]);
                    dweight[i][j] += dout * hat;
                    dbias[i][j] += dout;
                    sums.x += RMS ? 0 : g;
                    sums.y += g * hat;
                }
            }
        }
        sums = norm_sums(sums, shared[n & 1]);
        float mean_g = sums.x / (float)k.C, mean_gx = sums.y / (float)k.C;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            if (channel(i) < k.C) {
                float value[W];
                lanes<T, W> other = {};
                if (k.dsum) {
                    other = load_lanes<W>(k.dsum + at + channel(i));
                }
#pragma unroll
                for (int j = 0; j < W; j++) {
                    float hat = (to_float(x[i].at[j]) - mean) * rstd;
                    float g = to_float(d[i].at[j]) * to_float(w[i].at[j]);
                    value[j] =
                            to_float(other.at[j]) + rstd * (g - mean_g - hat * mean_gx);
                }
                put_lanes<W>(k.dx + at + channel(i), value, false);
            }
        }
    }
    float *to = k.partials + (int64_t)blockIdx.x * (RMS ? 1 : 2) * k.C;
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        if (channel(i) < k.C) {
            put_lanes<W>(to + channel(i), dweight[i], false);
            if constexpr (!RMS) {
                put_lanes<W>(to + k.C + channel(i), dbias[i], false);
            }
        }
    }
}

/* gradient[which] (+)= the chunks' partials, in an order fixed by their number. A block
 * takes 32 channels, its rows of threads every 32nd chunk. */
template <class G>
__global__ static void __launch_bounds__(WARP *WARP) norm_finish(G *dweight, G *dbias,
        const float *partials, int64_t chunks, int C, bool accumulate) {
    __shared__ float shared[WARP][WARP + 1];
    G *gradient = blockIdx.y ? dbias : dweight;
    int c = (int)(blockIdx.x * WARP + threadIdx.x);
    float sum = 0;
    if (c < C) {
        const float *from = partials + (int64_t)blockIdx.y * C + c;
        int64_t stride = (int64_t)gridDim.y * C;
#pragma unroll 4
        for (int64_t chunk = threadIdx.y; chunk < chunks; chunk += WARP) {
            sum += from[chunk * stride];
        }
    }
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    sum = warp_sum(shared[threadIdx.x][threadIdx.y]);
    c = (int)(blockIdx.x * WARP + threadIdx.y);
    if (threadIdx.x == 0 && c < C) {
        put_lanes<1>(gradient + c, &sum, accumulate);
    }
}

template <bool RMS, class T, int W>
static void norm_backward_launch(
        const norm_backward_call<T> &call, cudaStream_t stream) {
    unsigned chunks = (unsigned)norm_chunks(call.N, call.C);
    auto threads = [&](int held) {
        return (unsigned)ceil_div(call.C, WARP * held * W) * WARP;
    };
    if (call.C <= NORM_THREADS * W) {
        norm_backward<T, W, 1, RMS><<<chunks, threads(1), 0, stream>>>(call);
    } else if (call.C <= NORM_THREADS * 16) {
        enum { HELD = 16 / W };
        norm_backward<T, W, HELD, RMS><<<chunks, threads(HELD), 0, stream>>>(call);
    } else {
        enum { HELD = NORM_HELD / W };
        norm_backward<T, W, HELD, RMS><<<chunks, threads(HELD), 0, stream>>>(call);
    }
}

template <bool RMS, class T>
static void norm_backward_any(const norm_backward_call<T> &call, cudaStream_t stream) {
    if (call.C % pack<T>::SIZE == 0) {
        norm_backward_launch<RMS, T, pack<T>::SIZE>(call, stream);
    } else {
        norm_backward_launch<RMS, T, 1>(call, stream);
    }
}

template <class G>
static void norm_finish_launch(void *dweight, void *dbias, const float *partials,
        int64_t N, int64_t C, bool accumulate, cudaStream_t stream) {
    dim3 grid((unsigned)ceil_div(C, WARP), dbias ? 2 : 1), block(WARP, WARP);
    norm_finish<<<grid, block, 0, stream>>>(
            (G *)dweight, (G *)dbias, partials, norm_chunks(N, C), (int)C, accumulate);
}

/* What both norms refuse. */
static inline bool norm_serves(int64_t C, struct kernel_error *err) {
    if (C > NORM_CHANNELS) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "CUDA norms take rows of up to %d channels, not %lld", NORM_CHANNELS,
                (long long)C);
    }
    return true;
}

#endif
