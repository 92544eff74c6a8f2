#include "kernels/cuda/fill.h"

#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

static unsigned blocks_for(int64_t count) {
    int64_t blocks = ceil_div(count, THREADS), most = 4096;
    return (unsigned)(blocks < most ? blocks : most);
}

__device__ static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* out [rows, columns], ld from row to row; row [columns] */
template <class T>
__global__ static void rows_kernel(
        T *out, int64_t rows, int64_t columns, int64_t ld, const T *row) {
    int64_t step = (int64_t)gridDim.x * blockDim.x, count = rows * columns;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count;
            i += step) {
        int64_t r = i / columns, c = i - r * columns;
        out[r * ld + c] = row[c];
    }
}

extern "C" bool fill_rows(struct stream *stream, void *out, enum dtype type,
        int64_t rows, int64_t columns, int64_t ld, const void *row,
        struct kernel_error *err) {
    unsigned blocks = blocks_for(rows * columns);
    DISPATCH(type, T,
            rows_kernel<<<blocks, THREADS, 0, stream->handle>>>(
                    (T *)out, rows, columns, ld, (const T *)row));
    return cuda_launched("a bias", err);
}

template <class T> __global__ static void random_kernel(T *out, int64_t count) {
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count;
            i += step) {
        uint64_t bits = mix((uint64_t)(i + 1) * 0x9e3779b97f4a7c15ull);
        out[i] = from_float<T>((float)(bits >> 40) * 0x1p-23f - 1.f);
    }
}

extern "C" bool fill_random(struct stream *stream, void *out, enum dtype type,
        int64_t count, struct kernel_error *err) {
    DISPATCH(type, T,
            random_kernel<<<blocks_for(count), THREADS, 0, stream->handle>>>(
                    (T *)out, count));
    return cuda_launched("random operands", err);
}

__global__ static void hash_kernel(
        unsigned long long *sum, const uint16_t *data, int64_t words) {
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    uint64_t mine = 0;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < words;
            i += step) {
        mine += mix((uint64_t)(i + 1) * 0x9e3779b97f4a7c15ull + data[i]);
    }
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        mine += __shfl_xor_sync(FULL_WARP, mine, distance);
    }
    if (threadIdx.x % WARP == 0) {
        atomicAdd(sum, (unsigned long long)mine);
    }
}

extern "C" bool fill_hash(struct stream *stream, unsigned long long *sum,
        const void *data, int64_t words, struct kernel_error *err) {
    hash_kernel<<<blocks_for(words), THREADS, 0, stream->handle>>>(
            sum, (const uint16_t *)data, words);
    return cuda_launched("a fingerprint", err);
}

__global__ static void small_kernel(
        unsigned char *out, unsigned value, int size, int count) {
    for (int i = (int)threadIdx.x; i < size * count; i += FILL_SMALL_THREADS) {
        out[i] = (unsigned char)(value >> 8 * (i % size));
    }
}

extern "C" void *fill_small_kernel(void) {
    return (void *)small_kernel;
}
