#include "kernels/cpu/ops.h"

bool CPU(add)(struct stream *stream, struct tensor *out, const struct tensor *a,
        const struct tensor *b, struct kernel_error *err) {
    (void)err;
    int64_t count = tensor_count(out);
    assert(tensor_count(a) == count && tensor_count(b) == count);
    int threads = threads_for(stream, 3 * tensor_bytes(out));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t at = 0; at < count; at += CHUNK) {
        float room[3][CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, count - at);
        const float *x = read_floats(room[0], a, at, n);
        const float *y = read_floats(room[1], b, at, n);
        float *to = write_floats(room[2], out, at);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            to[i] = x[i] + y[i];
        }
        wrote_floats(out, at, to, n);
    }
    return true;
}
