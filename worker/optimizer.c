#include "worker/optimizer.h"

#include <assert.h>
#include <math.h>

#include "worker/round.h"

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

/* Elements of an arena as a tensor of their own. */
static int slice(struct program *p, int arena, int64_t from, int64_t count) {
    enum dtype type = p->tensors[arena].tensor.type;
    return program_view(p, arena, from * (int64_t)dtype_size(type),
            program_shape(type, count, 0, 0, 0));
}

static int64_t chunks_of(int64_t elements) {
    return (elements + NORM_CHUNK - 1) / NORM_CHUNK;
}

/* Behind the gradients, where ranks can add up what lies there, in whole 16 bytes. */
static int declare_spread_partials(struct program *p, struct tensor shape) {
    shape.size[0] = round_up(shape.size[0], 4);
    int64_t end = (int64_t)tensor_bytes(&p->tensors[p->grads].tensor);
    return program_fixed(
            p, OWNER_GRADS, "norm_partials", shape, round_up(end, MEMORY_ALIGN));
}

/* Partials of each part of the gradient as soon as it is whole. From the last on: those
 * in front keep their places. */
static void declare_partials(
        struct program *p, int64_t elements, const struct ddp *d, int partials) {
    struct ddp_part parts[DDP_PARTS];
    int count = ddp_parts(d, p, elements, parts);
    for (int k = count - 1; k >= 0; k--) {
        int64_t from = parts[k].from, part = parts[k].to - from;
        if (part == 0) {
            continue;
        }
        struct op op = {.kind = OP_NORM_PARTIALS,
                .phase = k + 1 < count ? PHASE_REDUCE : PHASE_OPTIMIZER};
        op.operands.id[0] = slice(p, partials, from / NORM_CHUNK, chunks_of(part));
        op.operands.id[1] = slice(p, p->grads, from, part);
        program_insert(p, parts[k].behind, &op);
    }
}

/* Each rank's own partials among zeros, added up. */
static int declare_spread_norm(struct program *p, struct tensor shape) {
    int partials = declare_spread_partials(p, shape);
    program_add(p, OP_ZERO, (struct operands){{partials}});
    program_add(p, OP_NORM_PARTIALS, (struct operands){{partials, p->grads, p->owned}});
    program_add(p, OP_ALL_REDUCE, (struct operands){{partials}})->to =
            tensor_count(&p->tensors[partials].tensor);
    program_add(p, OP_COMM_WAIT, (struct operands){{partials}});
    return partials;
}

static int declare_norm(
        struct program *p, const struct parameters *parameters, const struct ddp *d) {
    struct tensor shape = program_shape(p->tensors[p->control].tensor.type,
            chunks_of(parameters->elements), 0, 0, 0);
    assert((p->owned != ABSENT) == (d->wrapper == DDP_SHARDED));
    if (p->owned != ABSENT) {
        return declare_spread_norm(p, shape);
    }
    int partials = program_tensor(p, OWNER_ACTIVATIONS, "norm_partials", shape);
    declare_partials(p, parameters->elements, d, partials);
    return partials;
}

void optimizer_declare(
        struct program *p, const struct parameters *parameters, const struct ddp *d) {
    p->phase = PHASE_OPTIMIZER;
    int partials = declare_norm(p, parameters, d);
    program_add(p, OP_CLIP, (struct operands){{p->control, partials}});
    program_add(p, OP_ADAMW,
            (struct operands){{p->weights, p->master, p->first_moment, p->second_moment,
                    p->grads, p->decayed, p->owned, p->control}});
}
