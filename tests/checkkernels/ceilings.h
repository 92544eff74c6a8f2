/*
 * What a card can do, measured: the scale of the times below it.
 */
#ifndef TESTS_CHECKKERNELS_CEILINGS_H
#define TESTS_CHECKKERNELS_CEILINGS_H

#include "tests/checkkernels/device.h"

/* Device memory for --bench: the largest attention operands and a model's logits. */
#define CEILINGS_BYTES ((size_t)48 << 30)

struct ceilings {
    double context_s; /* the first touch of the device by this process */
    double stream_s;  /* the first stream, with its library handles */
};

/* The process's first calls of `table`, timed. Unsupported where it has no device. */
bool ceilings_start(struct ceilings *ceilings, const struct kernels *table,
        struct kernel_error *err);

/* Measures copies, a large product and the gaps between kernels and between small fills
 * of a graph; prints them and the head of the table; sets check's peaks. */
bool ceilings_measure(
        const struct ceilings *ceilings, struct check *check, struct kernel_error *err);

#endif
