/*
 * Softmax cross-entropy over rows of logits [N, V], of which the first `vocab` count,
 * its gradient in place, and the sum of the losses.
 *
 * Floor: 2·N·V·s bytes with the gradient, N·V·s without. A block does a row and reads
 * it twice; the second time it comes from L2, which holds the rows at work. Rows go
 * from last to first: the product before wrote the last ones last.
 */
#include <float.h>
#include <limits.h>

#include "kernels/cuda/lanes.cuh"

enum { THREADS = 512, SUM_THREADS = 1024 };

/* The softmax of a row: its highest logit, where that is first, Σ e^(logit − highest).
 */
struct softmax {
    float highest, sum;
    int first;
};

/* Of a warp's 32 parts, known to all of it; their order does not matter to the bits. */
__device__ __forceinline__ softmax join_warp(softmax x) {
    softmax all;
    all.highest = warp_max(x.highest);
    all.sum = warp_sum(x.sum * expf(x.highest - all.highest));
    all.first =
            __reduce_min_sync(FULL_WARP, x.highest == all.highest ? x.first : INT_MAX);
    return all;
}

/* Takes in `raw`, logits v, v + 1, … Elements from `vocab` on don't count. */
template <class T, int W>
__device__ __forceinline__ void take(
        softmax *x, const lanes<T, W> &raw, int v, int vocab) {
    float logit[W], highest = -FLT_MAX;
#pragma unroll
    for (int j = 0; j < W; j++) {
        logit[j] = v + j < vocab ? to_float(raw.at[j]) : -INFINITY;
        highest = fmaxf(highest, logit[j]);
    }
    if (highest > x->highest) { // seldom: the highest of n so far, once in n
        x->sum *= expf(x->highest - highest);
        x->highest = highest;
#pragma unroll
        for (int j = W - 1; j >= 0; j--) {
            x->first = logit[j] == highest ? v + j : x->first;
        }
    }
#pragma unroll
    for (int j = 0; j < W; j++) {
        x->sum += expf(logit[j] - x->highest);
    }
}

/* `BATCH` loads of a thread are under way together. */
enum { BATCH = 4 };

template <class T, int W>
__device__ __forceinline__ softmax row_softmax(
        const T *row, int vocab, softmax *shared) {
    softmax x = {-FLT_MAX, 0, INT_MAX};
    int step = (int)blockDim.x * W;
    for (int v = (int)threadIdx.x * W; v < vocab; v += BATCH * step) {
        lanes<T, W> raw[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (v + k * step < vocab) {
                raw[k] = load_lanes<W>(row + v + k * step);
            }
        }
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (v + k * step < vocab) {
                take(&x, raw[k], v + k * step, vocab);
            }
        }
    }
    x = join_warp(x);
    int lane = threadIdx.x % WARP;
    if (lane == 0) {
        shared[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    if (lane < (int)blockDim.x / WARP) {
        x = shared[lane];
    } else {
        x = {-FLT_MAX, 0, INT_MAX};
    }
    return join_warp(x);
}

/* row = (softmax − onehot) × scale, 0 from `vocab` on. */
template <class T, int W>
__device__ __forceinline__ void row_gradient(
        T *row, int V, int vocab, int target, softmax x, float scale) {
    float share = scale / x.sum;
    int step = (int)blockDim.x * W;
    for (int v = (int)threadIdx.x * W; v < V; v += BATCH * step) {
        lanes<T, W> raw[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (v + k * step < V) {
                raw[k] = load_lanes<W>(row + v + k * step);
            }
        }
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            int at = v + k * step;
            if (at < V) {
#pragma unroll
                for (int j = 0; j < W; j++) {
                    float power = expf(to_float(raw[k].at[j]) - x.highest);
                    float slope = at + j == target ? (power / x.sum - 1) * scale
                                                   : power * share;
                    raw[k].at[j] = from_float<T>(at + j < vocab ? slope : 0.f);
                }
                store_lanes<W>(row + at, raw[k]);
            }
        }
    }
}

template <class T, int W>
__global__ static void __launch_bounds__(THREADS, 2)
        classifier(float *losses, float *correct, T *logits, const int32_t *targets,
                const float *control, int V, int vocab, bool gradient, float factor) {
    __shared__ softmax shared[THREADS / WARP];
    int64_t n = (int64_t)gridDim.x - 1 - blockIdx.x;
    int target = targets[n];
    T *row = logits + n * V;
    if (target < 0) {
        if (threadIdx.x == 0) {
            losses[n] = 0;
            correct[n] = 0;
        }
        for (int v = (int)threadIdx.x; gradient && v < V; v += (int)blockDim.x) {
            row[v] = from_float<T>(0.f);
        }
        return;
    }
    float logit = to_float(row[target]); // before anyone overwrites it
    softmax x = row_softmax<T, W>(row, vocab, shared);
    if (threadIdx.x == 0) {
        losses[n] = logf(x.sum) - (logit - x.highest);
        correct[n] = target == x.first ? 1.f : 0.f;
    }
    if (gradient) {
        row_gradient<T, W>(
                row, V, vocab, target, x, factor * control[CONTROL_LOSS_SCALE]);
    }
}

extern "C" bool cuda_classifier(struct stream *stream, struct tensor *losses,
        struct tensor *correct, struct tensor *logits, const struct tensor *targets,
        const struct tensor *control, int64_t vocab, bool gradient, float factor,
        struct kernel_error *err) {
    int64_t N = tensor_count(targets), V = tensor_count(logits) / N;
    if (V > INT_MAX / 2) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "the CUDA classifier takes up to %d columns, not %lld", INT_MAX / 2,
                (long long)V);
    }
    DISPATCH(logits->type, T, {
        enum { W = pack<T>::SIZE };
        int64_t units = V % W ? V : V / W;
        unsigned threads = (unsigned)(units < THREADS ? ceil_div(units, WARP) * WARP
                                                      : (int64_t)THREADS);
        auto kernel = V % W ? classifier<T, 1> : classifier<T, W>;
        kernel<<<(unsigned)N, threads, 0, stream->handle>>>((float *)losses->data,
                (float *)correct->data, (T *)logits->data,
                (const int32_t *)targets->data,
                gradient ? (const float *)control->data : nullptr, (int)V, (int)vocab,
                gradient, factor);
    });
    return cuda_launched("classifier", err);
}

/* One block and double sums: 65,536 losses take a few µs, and lose no digit. */
__global__ static void __launch_bounds__(SUM_THREADS)
        loss_sum(float *control, const float *losses, const float *correct, int64_t N,
                float factor, bool accumulate) {
    __shared__ double shared[2][SUM_THREADS];
    double loss = 0, hits = 0;
#pragma unroll 4
    for (int64_t n = threadIdx.x; n < N; n += SUM_THREADS) {
        loss += (double)losses[n];
        hits += (double)correct[n];
    }
    shared[0][threadIdx.x] = loss;
    shared[1][threadIdx.x] = hits;
    for (unsigned half = SUM_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            shared[0][threadIdx.x] += shared[0][threadIdx.x + half];
            shared[1][threadIdx.x] += shared[1][threadIdx.x + half];
        }
    }
    if (threadIdx.x == 0) {
        double old_loss = accumulate ? (double)control[CONTROL_LOSS] : 0;
        double old_hits = accumulate ? (double)control[CONTROL_ACCURACY] : 0;
        control[CONTROL_LOSS] = (float)(old_loss + shared[0][0] * (double)factor);
        control[CONTROL_ACCURACY] = (float)(old_hits + shared[1][0] * (double)factor);
    }
}

extern "C" bool cuda_loss_sum(struct stream *stream, struct tensor *control,
        const struct tensor *losses, const struct tensor *correct, float factor,
        bool accumulate, struct kernel_error *err) {
    loss_sum<<<1, SUM_THREADS, 0, stream->handle>>>((float *)control->data,
            (const float *)losses->data, (const float *)correct->data,
            tensor_count(losses), factor, accumulate);
    return cuda_launched("loss_sum", err);
}
