#include "kernels/reference.h"

bool REF(cast)(struct stream *stream, struct tensor *out, const struct tensor *in,
        struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t count = tensor_count(in);
    assert(tensor_count(out) == count);
    for (int64_t i = 0; i < count; i++) {
        store(out, i, load(in, i));
    }
    return true;
}
