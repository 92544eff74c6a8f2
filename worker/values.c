#include "worker/values.h"

#include <stdlib.h>

/* Copy between `host` floats or doubles and a tensor of that same type. */
static bool copy(const struct device_access *a, enum copy_kind kind, void *to,
        const void *from, const struct tensor *t, struct kernel_error *why) {
    return a->kernels->copy(a->stream, kind, to, from, tensor_bytes(t), why) &&
           a->kernels->stream_synchronize(a->stream, why);
}

static bool read_plain(const struct device_access *a, const struct tensor *t,
        double *values, struct kernel_error *why) {
    if (t->type == DTYPE_F64) {
        return copy(a, COPY_TO_HOST, values, t->data, t, why);
    }
    int64_t count = tensor_count(t);
    float *host = text_allocate(tensor_bytes(t));
    bool good = copy(a, COPY_TO_HOST, host, t->data, t, why);
    for (int64_t i = 0; good && i < count; i++) {
        values[i] = host[i];
    }
    free(host);
    return good;
}

static bool write_plain(const struct device_access *a, struct tensor *t,
        const double *values, struct kernel_error *why) {
    if (t->type == DTYPE_F64) {
        return copy(a, COPY_TO_DEVICE, t->data, values, t, why);
    }
    int64_t count = tensor_count(t);
    float *host = text_allocate(tensor_bytes(t));
    for (int64_t i = 0; i < count; i++) {
        host[i] = (float)values[i];
    }
    bool good = copy(a, COPY_TO_DEVICE, t->data, host, t, why);
    free(host);
    return good;
}

static bool is_plain(const struct tensor *t) {
    return t->type == DTYPE_F32 || t->type == DTYPE_F64;
}

/* A low-precision tensor goes through a float one on the device, which converts. */
static bool with_float(const struct device_access *a, struct tensor *t, double *read,
        const double *write, struct kernel_error *why) {
    const struct kernels *k = a->kernels;
    struct tensor plain = *t;
    plain.type = DTYPE_F32;
    size_t bytes = tensor_bytes(&plain);
    if (!k->allocate(a->device, MEMORY_DEVICE, bytes, &plain.data, why)) {
        return false;
    }
    bool good = read ? k->cast(a->stream, &plain, t, why) &&
                                read_plain(a, &plain, read, why)
                     : write_plain(a, &plain, write, why) &&
                                k->cast(a->stream, t, &plain, why) &&
                                k->stream_synchronize(a->stream, why);
    k->release(a->device, MEMORY_DEVICE, plain.data, bytes);
    return good;
}

bool values_read(const struct device_access *access, const struct tensor *t,
        double *values, struct text *err) {
    struct kernel_error why = {0};
    struct tensor source = *t;
    bool good = is_plain(t) ? read_plain(access, t, values, &why)
                            : with_float(access, &source, values, NULL, &why);
    return good || text_fail(err, "cannot read a tensor: %s", why.sentence);
}

bool values_write(const struct device_access *access, struct tensor *t,
        const double *values, struct text *err) {
    struct kernel_error why = {0};
    bool good = is_plain(t) ? write_plain(access, t, values, &why)
                            : with_float(access, t, NULL, values, &why);
    return good || text_fail(err, "cannot write a tensor: %s", why.sentence);
}
