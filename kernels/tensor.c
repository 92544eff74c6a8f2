#include "kernels/tensor.h"

#include <assert.h>

size_t dtype_size(enum dtype type) {
    switch (type) {
    case DTYPE_F64:
        return 8;
    case DTYPE_F32:
    case DTYPE_I32:
        return 4;
    case DTYPE_BF16:
    case DTYPE_F16:
        return 2;
    case DTYPE_U8:
        return 1;
    }
    assert(!"a known dtype");
    return 0;
}

const char *dtype_name(enum dtype type) {
    switch (type) {
    case DTYPE_F64:
        return "f64";
    case DTYPE_F32:
        return "f32";
    case DTYPE_I32:
        return "i32";
    case DTYPE_BF16:
        return "bf16";
    case DTYPE_F16:
        return "f16";
    case DTYPE_U8:
        return "u8";
    }
    return "?";
}

int64_t tensor_count(const struct tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++) {
        count *= t->size[i];
    }
    return count;
}

size_t tensor_bytes(const struct tensor *t) {
    return (size_t)tensor_count(t) * dtype_size(t->type);
}

bool tensor_given(const struct tensor *t) {
    return t && t->data;
}
