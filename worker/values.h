/*
 * A device tensor's elements as doubles on the host, whatever its type. Slow and
 * synchronising: for initial weights, checkpoints and tests.
 */
#ifndef WORKER_VALUES_H
#define WORKER_VALUES_H

#include <stdbool.h>

#include "kernels/kernels.h"
#include "matrix/text.h"

struct device_access {
    const struct kernels *kernels;
    struct stream *stream;
    int device;
};

/* `values` takes or holds tensor_count(t) doubles. */
bool values_read(const struct device_access *access, const struct tensor *t,
        double *values, struct text *err);
bool values_write(const struct device_access *access, struct tensor *t,
        const double *values, struct text *err);

#endif
