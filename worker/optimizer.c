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
            .epsilon = OPTIMIZER_EPSILON};
}

/* Elements [from, to) of an arena. */
static int slice(struct program *p, int arena, int64_t from, int64_t to) {
    enum dtype type = p->tensors[arena].tensor.type;
    return program_view(p, arena, from * (int64_t)dtype_size(type),
            program_shape(type, to - from, 0, 0, 0));
}

static void declare_adamw(struct program *p, int64_t from, int64_t to, float decay) {
    struct operands operands = {{slice(p, p->weights, from, to),
            slice(p, p->master, from, to), slice(p, p->first_moment, from, to),
            slice(p, p->second_moment, from, to), slice(p, p->grads, from, to),
            p->control}};
    program_add(p, OP_ADAMW, operands)->weight_decay = decay;
}

void optimizer_declare(struct program *p, const struct parameters *parameters,
        const struct params *params) {
    p->phase = PHASE_OPTIMIZER;
    enum dtype type = p->tensors[p->control].tensor.type;
    int64_t chunks = (parameters->elements + NORM_CHUNK - 1) / NORM_CHUNK;
    int partials = program_tensor(
            p, OWNER_SCRATCH, "norm_partials", program_shape(type, chunks, 0, 0, 0));
    program_add(p, OP_NORM_PARTIALS, (struct operands){{partials, p->grads}});
    program_add(p, OP_CLIP, (struct operands){{p->control, partials}});
    float decay = (float)params_real(params, PARAM_WEIGHT_DECAY);
    for (int i = 0; i < parameters->count;) {
        const struct parameter *first = &parameters->items[i];
        while (i < parameters->count && parameters->items[i].decay == first->decay) {
            i++;
        }
        int64_t to = i < parameters->count ? parameters->items[i].offset
                                           : parameters->elements;
        declare_adamw(p, first->offset, to, first->decay ? decay : 0);
    }
}
