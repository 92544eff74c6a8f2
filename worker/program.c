#include "worker/program.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *access;
} types[OP_COUNT] = {
        [OP_ZERO] = {"zero", "w"},
        [OP_EMBEDDING_FORWARD] = {"embedding_forward", "wrrr"},
        [OP_EMBEDDING_BACKWARD] = {"embedding_backward", "aasrr"},
        [OP_LAYERNORM_FORWARD] = {"layernorm_forward", "wwwwrrrr"},
        [OP_LAYERNORM_BACKWARD] = {"layernorm_backward", "waasrrrrrr"},
        [OP_RMSNORM_FORWARD] = {"rmsnorm_forward", "wwwrrr"},
        [OP_RMSNORM_BACKWARD] = {"rmsnorm_backward", "wasrrrrr"},
        [OP_MATMUL_FORWARD] = {"matmul_forward", "wsrrr"},
        [OP_MATMUL_BACKWARD_INPUT] = {"matmul_backward_input", "wsrr"},
        [OP_MATMUL_BACKWARD_WEIGHT] = {"matmul_backward_weight", "aasrr"},
        [OP_ROPE_FORWARD] = {"rope_forward", "m"},
        [OP_ROPE_BACKWARD] = {"rope_backward", "m"},
        [OP_ATTENTION_FORWARD] = {"attention_forward", "wwsr"},
        [OP_ATTENTION_BACKWARD] = {"attention_backward", "wsrrrr"},
        [OP_GELU_FORWARD] = {"gelu_forward", "wr"},
        [OP_GELU_BACKWARD] = {"gelu_backward", "wrr"},
        [OP_SWIGLU_FORWARD] = {"swiglu_forward", "wr"},
        [OP_SWIGLU_BACKWARD] = {"swiglu_backward", "wrr"},
        [OP_CLASSIFIER] = {"classifier", "wwmrr"},
        [OP_LOSS_SUM] = {"loss_sum", "arr"},
        [OP_ALL_REDUCE] = {"all_reduce", "m"},
        [OP_REDUCE_SCATTER] = {"reduce_scatter", "m"},
        [OP_ALL_GATHER] = {"all_gather", "wr"},
        [OP_COMM_WAIT] = {"comm_wait", "m"},
        [OP_NORM_PARTIALS] = {"norm_partials", "wrr"},
        [OP_CLIP] = {"clip", "mr"},
        [OP_ADAMW] = {"adamw", "wmmmrrrr"},
};

const char *op_phase_name(enum phase phase) {
    static const char *const names[] = {"forward", "backward", "reduce", "optimizer"};
    return names[phase];
}

const char *op_name(enum op_kind kind) {
    return types[kind].name;
}

const char *op_access(enum op_kind kind) {
    return types[kind].access;
}

bool op_writes(char access) {
    return access != 'r';
}

bool op_runs(const struct op *op, int micro, int micros) {
    return (op->when != WHEN_FIRST_MICRO || micro == 0) &&
           (op->when != WHEN_LAST_MICRO || micro == micros - 1) &&
           (op->when != WHEN_BEFORE_LAST_MICRO || micro < micros - 1);
}

bool op_communicates(enum op_kind kind) {
    return kind == OP_ALL_REDUCE || kind == OP_REDUCE_SCATTER || kind == OP_ALL_GATHER;
}

enum phase op_timed_as(const struct op *op) {
    if (op->kind == OP_COMM_WAIT) {
        return PHASE_REDUCE;
    }
    if (op->kind == OP_NORM_PARTIALS) {
        return PHASE_OPTIMIZER;
    }
    bool ours = op->phase == PHASE_REDUCE && !op_communicates(op->kind);
    return ours ? PHASE_BACKWARD : op->phase;
}

bool op_adds(enum op_accumulate accumulate, bool first) {
    return accumulate == ACCUMULATE || (accumulate == ACCUMULATE_AFTER_FIRST && !first);
}

static int tensor_add(struct program *p, const struct program_tensor *t) {
    if (p->tensor_count == p->tensor_capacity) {
        p->tensor_capacity = p->tensor_capacity ? 2 * p->tensor_capacity : 256;
        p->tensors = text_reallocate(
                p->tensors, (size_t)p->tensor_capacity * sizeof *p->tensors);
    }
    p->tensors[p->tensor_count] = *t;
    return p->tensor_count++;
}

void program_init(struct program *p) {
    *p = (struct program){0};
    tensor_add(p, &(struct program_tensor){
                          .name = "absent", .fixed = true, .first = -1, .last = -1});
}

void program_finish(struct program *p) {
    free(p->ops);
    free(p->tensors);
    free(p->weight);
    free(p->grad);
    *p = (struct program){0};
}

struct tensor program_shape(
        enum dtype type, int64_t a, int64_t b, int64_t c, int64_t d) {
    int rank = d ? 4 : c ? 3 : b ? 2 : 1;
    return (struct tensor){.type = type, .rank = rank, .size = {a, b, c, d}};
}

int program_tensor(struct program *p, enum memory_owner owner, const char *name,
        struct tensor shape) {
    int id = tensor_add(p, &(struct program_tensor){.name = name,
                                   .owner = owner,
                                   .tensor = shape,
                                   .first = -1,
                                   .last = -1});
    p->tensors[id].base = id;
    return id;
}

int program_scratch(struct program *p, size_t bytes) {
    if (!bytes) {
        return ABSENT;
    }
    return program_tensor(p, OWNER_ACTIVATIONS, "scratch",
            program_shape(DTYPE_U8, (int64_t)bytes, 0, 0, 0));
}

int program_fixed(struct program *p, enum memory_owner owner, const char *name,
        struct tensor shape, int64_t offset) {
    int id = program_tensor(p, owner, name, shape);
    p->tensors[id].fixed = true;
    p->tensors[id].offset = offset;
    return id;
}

int program_view(struct program *p, int base, int64_t offset, struct tensor shape) {
    if (base == ABSENT) {
        return ABSENT;
    }
    const struct program_tensor *of = &p->tensors[base];
    assert(offset + (int64_t)tensor_bytes(&shape) <=
            (int64_t)tensor_bytes(&of->tensor));
    struct program_tensor view = {.name = of->name,
            .owner = of->owner,
            .tensor = shape,
            .base = of->base,
            .fixed = of->fixed,
            .offset = offset + (of->base == base ? 0 : of->offset),
            .first = -1,
            .last = -1};
    return tensor_add(p, &view);
}

static void reserve_op(struct program *p) {
    if (p->op_count == p->op_capacity) {
        p->op_capacity = p->op_capacity ? 2 * p->op_capacity : 256;
        p->ops = text_reallocate(p->ops, (size_t)p->op_capacity * sizeof *p->ops);
    }
}

struct op *program_add(struct program *p, enum op_kind kind, struct operands operands) {
    reserve_op(p);
    struct op *op = &p->ops[p->op_count++];
    *op = (struct op){.kind = kind, .phase = p->phase, .operands = operands};
    return op;
}

void program_insert(struct program *p, int index, const struct op *op) {
    assert(index >= -1 && index < p->op_count);
    reserve_op(p);
    struct op *at = p->ops + index + 1;
    memmove(at + 1, at, (size_t)(p->op_count - index - 1) * sizeof *at);
    *at = *op;
    p->op_count++;
}

void program_move(struct program *p, int index, int behind) {
    assert(index >= 0 && index <= behind && behind < p->op_count);
    struct op op = p->ops[index];
    memmove(p->ops + index, p->ops + index + 1,
            (size_t)(behind - index) * sizeof *p->ops);
    p->ops[behind] = op;
}

int program_last_write(const struct program *p, int id, int before) {
    for (int i = before - 1; i >= 0; i--) {
        const char *access = op_access(p->ops[i].kind);
        for (int k = 0; access[k]; k++) {
            if (p->ops[i].operands.id[k] == id && op_writes(access[k])) {
                return i;
            }
        }
    }
    return -1;
}

int program_tail(const struct program *p) {
    int i = 0;
    while (i < p->op_count && p->ops[i].phase <= PHASE_BACKWARD) {
        i++;
    }
    return i;
}

void program_lifetimes(struct program *p) {
    for (int i = 0; i < p->tensor_count; i++) {
        p->tensors[i].first = p->tensors[i].last = -1;
    }
    for (int i = 0; i < p->op_count; i++) {
        const char *access = op_access(p->ops[i].kind);
        for (int k = 0; access[k]; k++) {
            struct program_tensor *t = &p->tensors[p->ops[i].operands.id[k]];
            struct program_tensor *base = &p->tensors[t->base];
            t->last = base->last = i;
            t->first = t->first < 0 ? i : t->first;
            base->first = base->first < 0 ? i : base->first;
        }
    }
}

/* Whether this use of an operand needs what was in it before the op. */
static bool needs_contents(const struct op *op, char access) {
    switch (access) {
    case 'r':
    case 'm':
        return true;
    case 'a':
        return op->accumulate == ACCUMULATE;
    default:
        return false;
    }
}

static bool check_op(
        const struct program *p, int index, bool *written, struct text *err) {
    const struct op *op = &p->ops[index];
    const char *access = op_access(op->kind);
    for (int k = 0; access[k]; k++) {
        const struct program_tensor *t = &p->tensors[op->operands.id[k]];
        if (!t->fixed && needs_contents(op, access[k]) && !written[t->base]) {
            return text_fail(err, "op %d '%s' reads '%s' before it is written", index,
                    op_name(op->kind), t->name);
        }
        bool may_write = op->kind == OP_ADAMW || op->kind == OP_ALL_GATHER ||
                         op->kind == OP_COMM_WAIT;
        if (t->owner == OWNER_PARAMS && op_writes(access[k]) && !may_write &&
                op->operands.id[k] != ABSENT) {
            return text_fail(
                    err, "op %d '%s' writes a weight", index, op_name(op->kind));
        }
    }
    for (int k = 0; access[k]; k++) {
        if (op_writes(access[k])) {
            written[p->tensors[op->operands.id[k]].base] = true;
        }
    }
    return true;
}

bool program_check(const struct program *p, struct text *err) {
    bool *written = text_allocate_zeroed((size_t)p->tensor_count, sizeof *written);
    bool good = true;
    for (int i = 0; good && i < p->op_count; i++) {
        if (i && p->ops[i].phase < p->ops[i - 1].phase) {
            good = text_fail(err, "op %d '%s' stands after a later phase", i,
                    op_name(p->ops[i].kind));
        } else {
            good = check_op(p, i, written, err);
        }
    }
    free(written);
    return good;
}
