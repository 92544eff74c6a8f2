/*
 * The gradient's norm, whether it may be used, and by what it is multiplied. A block
 * sums one chunk of NORM_CHUNK elements, each thread those at its own places, in an
 * order that depends on the element's place in its chunk alone. One block then adds the
 * partials in double and decides.
 */
#include "kernels/cuda/elementwise.cuh"

#define THREADS 512

template <class T>
__global__ static void norm_partials(
        float *partials, const T *grads, const int32_t *owned, int64_t count) {
    constexpr int N = span_of<T>();
    __shared__ float room[WARP];
    int64_t number = owned ? owned[blockIdx.x] : (int64_t)blockIdx.x;
    int64_t begin = number * NORM_CHUNK;
    int size = (int)(count - begin < NORM_CHUNK ? count - begin : NORM_CHUNK);
    const T *chunk = grads + begin;
    float total = 0.f;
    int at = N * (int)threadIdx.x;
#pragma unroll 4
    for (; at + N <= size; at += N * THREADS) {
        span<T, N> g = span<T, N>::load(chunk + at);
#pragma unroll
        for (int i = 0; i < N; i++) {
            total += to_float(g.at[i]) * to_float(g.at[i]);
        }
    }
    // The one span that `size` cuts short is its thread's last.
    for (; at < size; at++) {
        total += to_float(chunk[at]) * to_float(chunk[at]);
    }
    total = block_sum(total, room);
    if (threadIdx.x == 0) {
        partials[number] = total;
    }
}

__device__ static void decide(float *control, double sum, struct clip_options options) {
    double scale = control[CONTROL_LOSS_SCALE], norm = sqrt(sum) / scale, factor = 1;
    if (options.clip > 0 && norm > options.clip) {
        factor = options.clip / norm;
    }
    bool overflow = !isfinite(sum);
    double good = (double)control[CONTROL_GOOD_STEPS] + 1;
    control[CONTROL_GRAD_NORM] = (float)norm;
    control[CONTROL_GRAD_FACTOR] = overflow ? 0.f : (float)(factor / scale);
    control[CONTROL_OVERFLOW] = overflow;
    control[overflow ? CONTROL_SKIPPED : CONTROL_UPDATES] += 1.f;
    if (!options.dynamic_scale) {
        return;
    }
    if (overflow) {
        scale = fmax(scale / 2, LOSS_SCALE_MIN);
        good = 0;
    } else if (good >= options.growth_steps) {
        scale = fmin(scale * 2, LOSS_SCALE_MAX);
        good = 0;
    }
    control[CONTROL_LOSS_SCALE] = (float)scale;
    control[CONTROL_GOOD_STEPS] = (float)good;
}

__global__ static void clip(float *control, const float *partials, int64_t count,
        struct clip_options options) {
    __shared__ double sums[THREADS];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += THREADS) {
        sum += partials[i];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            sums[threadIdx.x] += sums[threadIdx.x + half];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        decide(control, sums[0], options);
    }
}

extern "C" bool cuda_norm_partials(struct stream *stream, struct tensor *partials,
        const struct tensor *grads, const struct tensor *owned,
        struct kernel_error *err) {
    int64_t count = tensor_count(grads), chunks = tensor_count(partials);
    const int32_t *numbers = tensor_given(owned) ? (const int32_t *)owned->data : NULL;
    assert(numbers || chunks == ceil_div(count, NORM_CHUNK));
    assert(partials->type == DTYPE_F32);
    int64_t blocks = numbers ? tensor_count(owned) : chunks;
    if (blocks == 0) {
        return true;
    }
    DISPATCH(grads->type, T,
            norm_partials<<<(unsigned)blocks, THREADS, 0, stream->handle>>>(
                    (float *)partials->data, (const T *)grads->data, numbers, count));
    return cuda_launched("norm_partials", err);
}

extern "C" bool cuda_clip(struct stream *stream, struct tensor *control,
        const struct tensor *partials, const struct clip_options *options,
        struct kernel_error *err) {
    assert(control->type == DTYPE_F32 && tensor_count(control) == CONTROL_COUNT);
    assert(partials->type == DTYPE_F32);
    clip<<<1, THREADS, 0, stream->handle>>>((float *)control->data,
            (const float *)partials->data, tensor_count(partials), *options);
    return cuda_launched("clip", err);
}
