#include "kernels/cpu/ops.h"

bool CPU(cast)(struct stream *stream, struct tensor *out, const struct tensor *in,
        struct kernel_error *err) {
    int64_t count = tensor_count(in);
    assert(tensor_count(out) == count);
    if (out->type == in->type) {
        return host_copy(
                stream, COPY_ON_DEVICE, out->data, in->data, tensor_bytes(in), err);
    }
    int threads = threads_for(stream, tensor_bytes(in));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t at = 0; at < count; at += CHUNK) {
        float room[CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, count - at);
        store_floats(out, at, read_floats(room, in, at, n), n);
    }
    return true;
}
