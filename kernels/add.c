#include "kernels/reference.h"

bool REF(add)(struct stream *stream, struct tensor *out, const struct tensor *a,
        const struct tensor *b, struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t count = tensor_count(out);
    assert(tensor_count(a) == count && tensor_count(b) == count);
    for (int64_t i = 0; i < count; i++) {
        store(out, i, (double)load(a, i) + load(b, i));
    }
    return true;
}
