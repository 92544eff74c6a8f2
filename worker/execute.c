#include "worker/execute.h"

#include <string.h>

/* Operands in the order of the kernel's arguments. */
struct call {
    const struct executor *x;
    const struct op *op;
    struct tensor *t[OPERANDS_MAX];
    bool first; /* micro-step */
};

static bool call_transformer(const struct call *c, struct kernel_error *why) {
    const struct shape *shape = c->x->shape;
    const struct kernels *k = shape->kernels;
    struct stream *s = c->x->stream;
    struct tensor *const *t = c->t;
    bool add = op_adds(c->op->accumulate, c->first);
    switch (c->op->kind) {
    case OP_EMBEDDING_FORWARD:
        return k->embedding_forward(s, t[0], t[1], t[2], t[3], why);
    case OP_EMBEDDING_BACKWARD:
        return k->embedding_backward(s, t[0], t[1], t[2], t[3], t[4], add, why);
    case OP_LAYERNORM_FORWARD:
        return k->layernorm_forward(
                s, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], why);
    case OP_LAYERNORM_BACKWARD:
        return k->layernorm_backward(s, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7],
                t[8], t[9], add, why);
    case OP_RMSNORM_FORWARD:
        return k->rmsnorm_forward(s, t[0], t[1], t[2], t[3], t[4], t[5], why);
    case OP_RMSNORM_BACKWARD:
        return k->rmsnorm_backward(
                s, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], add, why);
    case OP_MATMUL_FORWARD:
        return k->matmul_forward(s, t[0], t[1], t[2], t[3], t[4], why);
    case OP_MATMUL_BACKWARD_INPUT:
        return k->matmul_backward_input(s, t[0], t[1], t[2], t[3], add, why);
    case OP_MATMUL_BACKWARD_WEIGHT:
        return k->matmul_backward_weight(s, t[0], t[1], t[2], t[3], t[4], add, why);
    case OP_ROPE_FORWARD:
        return k->rope_forward(
                s, t[0], shape->heads, shape->kv_heads, SHAPE_ROPE_THETA, why);
    case OP_ROPE_BACKWARD:
        return k->rope_backward(
                s, t[0], shape->heads, shape->kv_heads, SHAPE_ROPE_THETA, why);
    case OP_ATTENTION_FORWARD:
        return shape->attention->forward(
                s, t[0], t[1], t[2], t[3], &shape->attention_shape, why);
    case OP_ATTENTION_BACKWARD:
        return shape->attention->backward(
                s, t[0], t[1], t[2], t[3], t[4], t[5], &shape->attention_shape, why);
    case OP_GELU_FORWARD:
        return k->gelu_forward(s, t[0], t[1], why);
    case OP_GELU_BACKWARD:
        return k->gelu_backward(s, t[0], t[1], t[2], why);
    case OP_SWIGLU_FORWARD:
        return k->swiglu_forward(s, t[0], t[1], why);
    case OP_SWIGLU_BACKWARD:
        return k->swiglu_backward(s, t[0], t[1], t[2], why);
    default:
        return kernel_fail(why, KERNEL_UNSUPPORTED, "no such op");
    }
}

static bool call(const struct call *c, struct kernel_error *why, struct text *err) {
    const struct executor *x = c->x;
    const struct kernels *k = x->shape->kernels;
    struct stream *s = x->stream;
    const struct op *op = c->op;
    struct tensor *const *t = c->t;
    switch (op->kind) {
    case OP_ZERO:
        return k->fill(s, t[0]->data, 0, tensor_bytes(t[0]), why);
    case OP_CLASSIFIER:
        return k->classifier(s, t[0], t[1], t[2], t[3], t[4], x->shape->vocab,
                op->gradient, (float)(op->factor * x->weight), why);
    case OP_LOSS_SUM:
        return k->loss_sum(s, t[0], t[1], t[2], (float)(op->factor * x->weight),
                op_adds(op->accumulate, c->first), why);
    case OP_ALL_REDUCE:
        return comm_all_reduce(x->comm, s, t[0], op->from, op->to, err);
    case OP_REDUCE_SCATTER:
        return comm_reduce_scatter(x->comm, s, t[0], op->from, op->to, err);
    case OP_ALL_GATHER:
        return comm_all_gather(x->comm, s, tensor_given(t[1]) ? t[1] : NULL, t[0],
                op->from, op->to, err);
    case OP_COMM_WAIT:
        return comm_wait(x->comm, s, op->pending, err);
    case OP_NORM_PARTIALS:
        return k->norm_partials(s, t[0], t[1], t[2], why);
    case OP_CLIP:
        return k->clip(s, t[0], t[1], &x->clip, why);
    case OP_ADAMW:
        return k->adamw(
                s, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], &x->adamw, why);
    default:
        return call_transformer(c, why);
    }
}

/* -- red zones -----------------------------------------------------------------------
 */

/* The bytes behind the planned tensor that operand `k` lies in; NULL: there are none.
 */
static void *red_zone(const struct program *p, const struct op *op, int k) {
    const struct program_tensor *t = &p->tensors[op->operands.id[k]];
    struct program_tensor *base = &p->tensors[t->base];
    if (base->fixed || !op_writes(op_access(op->kind)[k])) {
        return NULL;
    }
    return (char *)base->tensor.data + tensor_bytes(&base->tensor);
}

static bool fill_red_zones(const struct executor *x, const struct program *p,
        const struct op *op, struct kernel_error *why) {
    bool good = true;
    for (int k = 0; good && op_access(op->kind)[k]; k++) {
        void *zone = red_zone(p, op, k);
        good = !zone || x->shape->kernels->fill(x->stream, zone, MEMORY_POISON,
                                (size_t)p->red_zone, why);
    }
    return good;
}

static bool check_red_zones(const struct executor *x, const struct program *p,
        const struct op *op, struct kernel_error *why) {
    const struct kernels *kernels = x->shape->kernels;
    unsigned char host[MEMORY_RED_ZONE];
    size_t bytes = (size_t)p->red_zone;
    for (int k = 0; op_access(op->kind)[k]; k++) {
        void *zone = red_zone(p, op, k);
        if (!zone) {
            continue;
        }
        if (!kernels->copy(x->stream, COPY_TO_HOST, host, zone, bytes, why) ||
                !kernels->stream_synchronize(x->stream, why)) {
            return false;
        }
        for (size_t i = bytes; i-- > 0;) {
            if (host[i] != MEMORY_POISON) {
                return kernel_fail(why, KERNEL_DEVICE_FAULT,
                        "it wrote %zu bytes past the end of '%s'", i + 1,
                        p->tensors[op->operands.id[k]].name);
            }
        }
    }
    return true;
}

/* -- the walk ------------------------------------------------------------------------
 */

static bool execute_op(const struct executor *x, const struct program *p,
        const struct op *op, bool first, struct text *err) {
    struct call c = {.x = x, .op = op, .first = first};
    struct kernel_error why = {0};
    for (int k = 0; k < OPERANDS_MAX; k++) {
        c.t[k] = &p->tensors[op->operands.id[k]].tensor;
    }
    bool good = (!p->red_zone || fill_red_zones(x, p, op, &why)) &&
                call(&c, &why, err) &&
                (!p->red_zone || check_red_zones(x, p, op, &why));
    if (!good && why.kind != KERNEL_OK) {
        text_fail(err, "'%s' failed: %s", op_name(op->kind), why.sentence);
    }
    return good;
}

/* Point the batch's tensors at the staged batch of this micro-step. */
static void bind_micro(struct program *p, int micro) {
    const int ids[] = {p->tokens, p->targets};
    for (int i = 0; i < 2; i++) {
        struct program_tensor *t = &p->tensors[ids[i]];
        char *staging = p->tensors[t->base].tensor.data;
        t->tensor.data = staging + (size_t)micro * tensor_bytes(&t->tensor);
    }
}

/* As execute_op(), in a range of its own for a profiler. */
static bool execute_ranged(const struct executor *x, const struct program *p,
        const struct op *op, bool first, struct text *err) {
    kernels_range_push(x->shape->kernels, op_name(op->kind));
    bool good = execute_op(x, p, op, first, err);
    kernels_range_pop(x->shape->kernels);
    return good;
}

static bool execute_range(const struct executor *x, struct program *p, int from, int to,
        int micro, int micros, struct timeline *timeline, struct text *err) {
    const struct kernels *kernels = x->shape->kernels;
    const struct op *last = NULL;
    bool good = true;
    for (int i = from; good && i < to; i++) {
        const struct op *op = &p->ops[i];
        if (!op_runs(op, micro, micros)) {
            continue;
        }
        if (last && last->phase != op->phase) {
            kernels_range_pop(kernels);
        }
        if (!last || last->phase != op->phase) {
            kernels_range_push(kernels, op_phase_name(op->phase));
        }
        last = op;
        good = (!timeline ||
                       timeline_mark_op(timeline, i, (int)op_timed_as(op), err)) &&
               execute_ranged(x, p, op, micro == 0, err);
        if (good && x->alive) {
            x->alive(x->user);
        }
    }
    if (last) {
        kernels_range_pop(kernels);
    }
    return good;
}

bool execute_step(const struct executor *x, struct program *p, int micros,
        struct timeline *timeline, struct text *err) {
    int tail = program_tail(p);
    for (int micro = 0; micro < micros; micro++) {
        bind_micro(p, micro);
        if (!execute_range(x, p, 0, tail, micro, micros, timeline, err)) {
            return false;
        }
    }
    return execute_range(x, p, tail, p->op_count, micros - 1, micros, timeline, err);
}
