#include "kernels/cpu/ops.h"

bool CPU(norm_partials)(struct stream *stream, struct tensor *partials,
        const struct tensor *grads, const struct tensor *owned,
        struct kernel_error *err) {
    (void)err;
    int64_t count = tensor_count(grads), chunks = tensor_count(partials);
    const int32_t *numbers = tensor_given(owned) ? owned->data : NULL;
    float *out = partials->data;
    assert(numbers || chunks == (count + NORM_CHUNK - 1) / NORM_CHUNK);
    int64_t sums = numbers ? tensor_count(owned) : chunks;
    size_t read = (size_t)min_of(sums * NORM_CHUNK, count);
    int threads = threads_for(stream, read * dtype_size(grads->type));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t k = 0; k < sums; k++) {
        int64_t chunk = numbers ? numbers[k] : k;
        int64_t end = min_of((chunk + 1) * NORM_CHUNK, count);
        double total = 0;
        for (int64_t at = chunk * NORM_CHUNK; at < end; at += CHUNK) {
            float room[CHUNK] ALIGNED, sum = 0;
            int64_t n = min_of(CHUNK, end - at);
            const float *g = read_floats(room, grads, at, n);
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < n; i++) {
                sum += g[i] * g[i];
            }
            total += (double)sum;
        }
        out[chunk] = (float)total;
    }
    return true;
}
