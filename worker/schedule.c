#include <math.h>

#include "worker/schedule.h"

double schedule_rate(const struct params *params, int64_t step, int64_t steps) {
    double lr = params_real(params, PARAM_LR);
    double lr_min = params_real(params, PARAM_LR_MIN);
    int64_t warmup = params_integer(params, PARAM_LR_WARMUP);
    int64_t kind = params_integer(params, PARAM_LR_SCHEDULE);
    if (step >= steps) {
        step = steps - 1;
    }
    if (step < warmup) {
        return lr * (double)(step + 1) / (double)(warmup + 1);
    }
    if (kind == LR_SCHEDULE_CONSTANT) {
        return lr;
    }
    double gone = (double)(step - warmup) / (double)(steps - warmup);
    double share = kind == LR_SCHEDULE_COSINE ? 0.5 * (1 + cos(3.14159265358979 * gone))
                                              : 1 - gone;
    return lr_min + share * (lr - lr_min);
}
