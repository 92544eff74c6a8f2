/*
 * Rotary positions in place on the first H + G heads of qkv [B, T, H + 2G, D], halves
 * convention: channel d turns with d + D/2 by t × theta^(−2d/D).
 *
 * Floor: read and write (H + G)·D of every token, 2·B·T·(H + G)·D·s bytes.
 *
 * Frequencies are computed on the host and angles in double on the device, as the
 * reference does: a float angle at position 10⁵ would be off by 4e-3. A block takes one
 * position of a few sequences, so that its D/2 sines are few beside its traffic.
 */
#include <math.h>

#include "kernels/cuda/lanes.cuh"

enum { PAIRS_MAX = 128, SEQUENCES = 8, THREADS = 256 };

struct frequencies {
    double at[PAIRS_MAX]; // theta^(−2d/D)
};

template <class T, int W>
__global__ static void __launch_bounds__(THREADS)
        turn(T *qkv, int64_t B, int64_t length, int heads, int turned, int D,
                double direction, const frequencies frequency) {
    __shared__ float2 angles[PAIRS_MAX]; // cosine, sine
    int pairs = D / 2, units = pairs / W;
    int64_t t = blockIdx.x % length, b = blockIdx.x / length * SEQUENCES;
    for (int d = (int)threadIdx.x; d < pairs; d += THREADS) {
        double sine, cosine;
        sincos((double)t * frequency.at[d], &sine, &cosine);
        angles[d] = make_float2((float)cosine, (float)(direction * sine));
    }
    __syncthreads();
    int sequences = (int)min((int64_t)SEQUENCES, B - b), row = turned * units;
    for (int i = (int)threadIdx.x; i < sequences * row; i += THREADS) {
        int head = i % row / units, d = i % units * W;
        T *at = qkv + ((b + i / row) * length + t) * heads * D + head * D + d;
        lanes<T, W> x = load_lanes<W>(at), y = load_lanes<W>(at + pairs);
#pragma unroll
        for (int j = 0; j < W; j++) {
            float left = to_float(x.at[j]), right = to_float(y.at[j]);
            float2 a = angles[d + j];
            x.at[j] = from_float<T>(left * a.x - right * a.y);
            y.at[j] = from_float<T>(right * a.x + left * a.y);
        }
        store_lanes<W>(at, x);
        store_lanes<W>(at + pairs, y);
    }
}

static bool rope(struct stream *stream, struct tensor *qkv, int64_t heads,
        int64_t kv_heads, float theta, double direction, struct kernel_error *err) {
    int64_t B = qkv->size[0], length = qkv->size[1], D = qkv->size[3];
    int all = (int)qkv->size[2], turned = (int)(heads + kv_heads);
    if (D / 2 > PAIRS_MAX) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "CUDA rotary positions take heads of up to %d channels, not %lld",
                2 * PAIRS_MAX, (long long)D);
    }
    frequencies frequency = {};
    for (int64_t d = 0; d < D / 2; d++) {
        frequency.at[d] = pow(theta, -2.0 * (double)d / (double)D);
    }
    unsigned blocks = (unsigned)(length * ceil_div(B, SEQUENCES));
    DISPATCH(qkv->type, T, {
        auto kernel = D / 2 % pack<T>::SIZE ? turn<T, 1> : turn<T, pack<T>::SIZE>;
        kernel<<<blocks, THREADS, 0, stream->handle>>>(
                (T *)qkv->data, B, length, all, turned, (int)D, direction, frequency);
    });
    return cuda_launched("rope", err);
}

extern "C" bool cuda_rope_forward(struct stream *stream, struct tensor *qkv,
        int64_t heads, int64_t kv_heads, float theta, struct kernel_error *err) {
    return rope(stream, qkv, heads, kv_heads, theta, 1, err);
}

extern "C" bool cuda_rope_backward(struct stream *stream, struct tensor *dqkv,
        int64_t heads, int64_t kv_heads, float theta, struct kernel_error *err) {
    return rope(stream, dqkv, heads, kv_heads, theta, -1, err);
}
