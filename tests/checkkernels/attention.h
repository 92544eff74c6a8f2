/*
 * What the checks of attention share: a shape with its operands, and the judge.
 */
#ifndef TESTS_CHECKKERNELS_ATTENTION_H
#define TESTS_CHECKKERNELS_ATTENTION_H

#include "tests/checkkernels/check.h"

struct attention_run {
    struct attention_shape shape;
    enum dtype type;
    struct tensor qkv, dout, out, dqkv;
};

/* out and dqkv of `like`'s shape in `type`, inputs shared. */
struct attention_run attention_open(const struct attention_run *like, enum dtype type);
void attention_close(struct attention_run *run);

/* Both outputs near the truth; `plain` holds the eager computation's, where that is the
 * measure. */
void attention_judge(struct check *check, const struct check_case *c,
        const struct attention_run *got, const struct attention_run *truth,
        const struct attention_run *plain);

/* One shape under every kernel of the device's table that `wanted` names. */
void attention_device(struct check *check, const char *wanted, struct check_case *c,
        const struct attention_run *truth, const struct attention_run *plain);
/* Forward and backward at the shapes that others' times are known for. */
void attention_device_bench(struct check *check, const char *wanted);
/* Says, once, which kernels the device's table lacks. */
void attention_device_absent(struct check *check, const char *wanted);

#endif
