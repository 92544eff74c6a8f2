/*
 * Initial weights, drawn as worker/parameters.c draws them: splitmix64 by position,
 * then Box and Muller, in double, so that host and device agree but for a rounding of
 * the last bit. Two elements a thread; 186 M of them take 8 s on one core.
 */
#include "kernels/cuda/common.cuh"

__device__ static uint64_t random_at(uint64_t key, uint64_t n) {
    uint64_t z = key + (n + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

__global__ static void normal(
        float *out, int64_t count, uint64_t key, uint64_t first, float deviation) {
    int64_t i = 2 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= count) {
        return;
    }
    double u = ((double)(random_at(key, first + (uint64_t)i) >> 11) + 1) * 0x1p-53;
    double v = (double)(random_at(key, first + (uint64_t)i + 1) >> 11) * 0x1p-53;
    double radius = deviation * sqrt(-2 * log(u)), sine, cosine;
    sincos(6.283185307179586 * v, &sine, &cosine);
    out[i] = (float)(radius * cosine);
    if (i + 1 < count) {
        out[i + 1] = (float)(radius * sine);
    }
}

extern "C" bool cuda_normal(struct stream *stream, struct tensor *out, uint64_t key,
        int64_t first, float deviation, struct kernel_error *err) {
    int64_t count = tensor_count(out), pairs = ceil_div(count, 2);
    normal<<<(unsigned)ceil_div(pairs, 256), 256, 0, stream->handle>>>(
            (float *)out->data, count, key, (uint64_t)first, deviation);
    return cuda_launched("normal", err);
}
