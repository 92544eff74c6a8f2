// Initial weights drawn on a device, against worker/parameters.c's on the host.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/checkkernels/device.h"
#include "worker/parameters.h"

enum { SEED = 1337 };

// The table that has no such entry is the truth's.
static bool normal(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    int64_t first = c->number[0], count = tensor_count(&t[0]);
    struct parameter p = {.name = "weight", .count = first + count};
    p.init_std = (float)c->factor;
    if (k->normal) {
        return k->normal(
                stream, &t[0], parameters_key(&p, SEED), first, p.init_std, err);
    }
    float *values = malloc((size_t)p.count * sizeof(*values));
    if (!values) {
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for %lld numbers",
                (long long)p.count);
    }
    parameters_fill(&p, SEED, values);
    for (int64_t i = 0; i < count; i++) {
        check_set(&t[0], i, values[first + i]);
    }
    free(values);
    return true;
}

static void run_normal(struct check *check, int64_t first, int64_t count) {
    struct check_case c = {.op = "normal",
            .type = DTYPE_F32,
            .call = normal,
            .factor = 0.02,
            .number = {first},
            .relative = 0x1p-23};
    snprintf(c.shape, sizeof(c.shape), "%lld from %lld", (long long)count,
            (long long)first);
    check_operand(&c, ROLE_OUT, DTYPE_F32, FILL_NORMAL, count, 0, 0, 0);
    c.bytes = 4 * (double)count;
    c.flops = 50 * (double)count;
    check_run(check, &c);
}

void check_normal(struct check *check, const char *op) {
    bool wanted = !op || strcmp(op, "normal") == 0;
    if (!wanted || !check->device || !check->device->table->normal) {
        return;
    }
    if (check->bench) {
        run_normal(check, 0, 38597376); // a vocabulary of 50,257 at width 768
        return;
    }
    run_normal(check, 0, 1);
    run_normal(check, 0, 1000);
    run_normal(check, 0, 200003);
    run_normal(check, 131072, 777);
}
