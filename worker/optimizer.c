#include "worker/optimizer.h"

#include <math.h>

double optimizer_lr(const struct params *params, int64_t step, int64_t steps) {
    double lr = params_real(params, PARAM_LR);
    double lowest = params_real(params, PARAM_LR_MIN);
    int64_t warmup = params_integer(params, PARAM_LR_WARMUP);
    int64_t schedule = params_integer(params, PARAM_LR_SCHEDULE);
    if (step < warmup) {
        return lr * (double)(step + 1) / (double)(warmup + 1);
    }
    if (schedule == LR_SCHEDULE_CONSTANT) {
        return lr;
    }
    if (step >= steps) {
        return lowest;
    }
    double done = (double)(step - warmup) / (double)(steps - warmup);
    double left =
            schedule == LR_SCHEDULE_LINEAR ? 1 - done : 0.5 * (1 + cos(M_PI * done));
    return lowest + left * (lr - lowest);
}

struct clip_options optimizer_clip(const struct params *params) {
    return (struct clip_options){.clip = (float)params_real(params, PARAM_GRAD_CLIP),
            .dynamic_scale = params_integer(params, PARAM_PRECISION) == PRECISION_FP16,
            .growth_steps = OPTIMIZER_GROWTH_STEPS};
}

struct adamw_options optimizer_adamw(const struct params *params) {
    return (struct adamw_options){.beta1 = (float)params_real(params, PARAM_BETA1),
            .beta2 = (float)params_real(params, PARAM_BETA2),
            .epsilon = OPTIMIZER_EPSILON,
            .weight_decay = (float)params_real(params, PARAM_WEIGHT_DECAY)};
}

void optimizer_declare(struct program *p, const struct parameters *parameters) {
    p->phase = PHASE_OPTIMIZER;
    enum dtype type = p->tensors[p->control].tensor.type;
    int64_t chunks = (parameters->elements + NORM_CHUNK - 1) / NORM_CHUNK;
    int partials = program_tensor(
            p, OWNER_SCRATCH, "norm_partials", program_shape(type, chunks, 0, 0, 0));
    program_add(p, OP_NORM_PARTIALS, (struct operands){{partials, p->grads}});
    program_add(p, OP_CLIP, (struct operands){{p->control, partials}});
    program_add(p, OP_ADAMW,
            (struct operands){{p->weights, p->master, p->first_moment, p->second_moment,
                    p->grads, p->decayed, p->control}});
}
