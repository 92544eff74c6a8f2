#include "worker/ledger.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/statistics.h"

/* -- names ---------------------------------------------------------------------------
 */

/* "attn.c_attn.weight" of "transformer.h.0.attn.c_attn.weight". */
static const char *without_layer(const char *name) {
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        size_t digits = strspn(dot + 1, "0123456789");
        if (digits && dot[1 + digits] == '.') {
            return dot + 2 + digits;
        }
    }
    return name;
}

static const char *what_of(const struct program *p, const struct parameters *parameters,
        const struct op *op) {
    const char *access = op_access(op->kind);
    for (int k = 0; access[k]; k++) {
        int id = op->operands.id[k];
        if (id == ABSENT || access[k] == 's' || !op_writes(access[k])) {
            continue;
        }
        for (int i = 0; p->grad && i < parameters->count; i++) {
            if (p->grad[i] == id) {
                return without_layer(parameters->items[i].name);
            }
        }
        return p->tensors[id].name;
    }
    return "";
}

/* -- bytes ---------------------------------------------------------------------------
 */

static bool is_embedding(enum op_kind kind) {
    return kind == OP_EMBEDDING_FORWARD || kind == OP_EMBEDDING_BACKWARD;
}

/* How much of operand `k` the optimizer walks, where a rank updates its chunks alone:
 * of weights and gradients, of which it has all, only those. */
static double owned_share(const struct program *p, const struct op *op, int k) {
    int id = op->operands.id[k];
    bool norm = op->kind == OP_NORM_PARTIALS && k == 0;
    bool whole = norm || id == p->weights || id == p->grads || id == p->decayed;
    if (p->owned == ABSENT || !whole) {
        return 1;
    }
    double all = (double)tensor_count(&p->tensors[p->grads].tensor);
    return (double)tensor_count(&p->tensors[p->owned].tensor) * NORM_CHUNK / all;
}

/* Rows that an embedding's ops look up or add to: no more than there are tokens. */
static double touched_bytes(const struct program *p, const struct op *op, int k) {
    const struct tensor *t = &p->tensors[op->operands.id[k]].tensor;
    double all = (double)tensor_bytes(t);
    if (op->kind == OP_COMM_WAIT) {
        return 0;
    }
    if (op_communicates(op->kind)) {
        double moved = (double)(op->to - op->from) * (double)dtype_size(t->type);
        return moved < all ? moved : all; // a gather's source is one rank's
    }
    if (op->kind == OP_ADAMW || op->kind == OP_NORM_PARTIALS) {
        return all * owned_share(p, op, k);
    }
    bool table = is_embedding(op->kind) && t->rank == 2 && t->type != DTYPE_I32;
    if (!table) {
        return all;
    }
    int tokens = op->operands.id[op->kind == OP_EMBEDDING_FORWARD ? 1 : 4];
    double rows = (double)tensor_count(&p->tensors[tokens].tensor);
    double row = (double)t->size[1] * (double)dtype_size(t->type);
    return rows * row < all ? rows * row : all;
}

/* Whether an operand before `k` is the same memory, used in the same way. */
static bool counted_before(const struct program *p, const struct op *op, int k,
        bool (*used)(const struct op *, char, bool), bool first) {
    const char *access = op_access(op->kind);
    const struct program_tensor *t = &p->tensors[op->operands.id[k]];
    for (int i = 0; i < k; i++) {
        const struct program_tensor *other = &p->tensors[op->operands.id[i]];
        if (op->operands.id[i] != ABSENT && used(op, access[i], first) &&
                other->base == t->base && other->offset == t->offset) {
            return true;
        }
    }
    return false;
}

static bool reads(const struct op *op, char access, bool first) {
    return access == 'r' || access == 'm' ||
           (access == 'a' && op_adds(op->accumulate, first));
}

static bool writes(const struct op *op, char access, bool first) {
    (void)op;
    (void)first;
    return access != 's' && op_writes(access);
}

static double bytes_of(const struct program *p, const struct op *op, bool first) {
    const char *access = op_access(op->kind);
    double bytes = 0;
    for (int k = 0; access[k]; k++) {
        if (op->operands.id[k] == ABSENT) {
            continue;
        }
        double once = touched_bytes(p, op, k);
        if (reads(op, access[k], first) && !counted_before(p, op, k, reads, first)) {
            bytes += once;
        }
        if (writes(op, access[k], first) && !counted_before(p, op, k, writes, first)) {
            // A table's gradient that is not added to is written whole.
            bool whole = access[k] == 'a' && !reads(op, access[k], first);
            const struct tensor *t = &p->tensors[op->operands.id[k]].tensor;
            bytes += whole ? (double)tensor_bytes(t) : once;
        }
    }
    return bytes;
}

/* -- operations ----------------------------------------------------------------------
 */

static double product(const struct program *p, int a, int b) {
    const struct tensor *x = &p->tensors[a].tensor, *y = &p->tensors[b].tensor;
    return 2 * (double)x->size[0] * (double)x->size[1] * (double)y->size[1];
}

static double flops_of(
        const struct program *p, const struct op *op, const struct shape *s) {
    const int *id = op->operands.id;
    const struct attention_shape *a = &s->attention_shape;
    double seen = (double)(a->batch * a->heads * a->head_dim) * shape_seen_pairs(a);
    switch (op->kind) {
    case OP_MATMUL_FORWARD: // out [m, n], x [m, k]
        return product(p, id[0], id[2]);
    case OP_MATMUL_BACKWARD_INPUT: // dx [m, k], dout [m, n]
        return product(p, id[0], id[2]);
    case OP_MATMUL_BACKWARD_WEIGHT: // dout [m, n], x [m, k]
        return product(p, id[3], id[4]);
    case OP_ATTENTION_FORWARD:
        return 4 * seen;
    case OP_ATTENTION_BACKWARD:
        return 10 * seen;
    default:
        return 0;
    }
}

/* -- rows ----------------------------------------------------------------------------
 */

static int row_of(struct ledger *l, enum op_kind kind, const char *what) {
    for (int i = 0; i < l->count; i++) {
        if (l->rows[i].kind == kind && strcmp(l->rows[i].what, what) == 0) {
            return i;
        }
    }
    // Names do not grow with a model's depth.
    assert(l->count < LEDGER_ROWS);
    struct ledger_row *row = &l->rows[l->count];
    *row = (struct ledger_row){.kind = kind};
    snprintf(row->what, sizeof row->what, "%s", what);
    return l->count++;
}

static void count_op(struct ledger *l, const struct program *p, int index,
        const struct shape *shape, int micro) {
    const struct op *op = &p->ops[index];
    struct ledger_row *row = &l->rows[l->of_op[index]];
    row->calls++;
    row->bytes += bytes_of(p, op, micro == 0);
    row->flops += flops_of(p, op, shape);
}

void ledger_init(struct ledger *l, const struct program *p,
        const struct parameters *parameters, const struct shape *shape, int micros) {
    *l = (struct ledger){0};
    l->rows = text_allocate_zeroed(LEDGER_ROWS, sizeof *l->rows);
    l->of_op = text_allocate_zeroed((size_t)p->op_count, sizeof *l->of_op);
    int tail = program_tail(p);
    for (int i = 0; i < p->op_count; i++) {
        const struct op *op = &p->ops[i];
        l->of_op[i] = row_of(l, op->kind, what_of(p, parameters, op));
        // What stands behind the micro-steps runs once, as in the last of them.
        for (int micro = i < tail ? 0 : micros - 1; micro < micros; micro++) {
            if (op_runs(op, micro, micros)) {
                count_op(l, p, i, shape, micro);
            }
        }
    }
}

void ledger_finish(struct ledger *l) {
    free(l->rows);
    free(l->of_op);
    *l = (struct ledger){0};
}

void ledger_add_step(struct ledger *l, const double *ms) {
    if (l->steps == LEDGER_STEPS) {
        return;
    }
    for (int i = 0; i < l->count; i++) {
        l->rows[i].ms[l->steps] = ms[i];
    }
    l->steps++;
}

json_t *ledger_to_json(const struct ledger *l) {
    json_t *rows = json_array();
    for (int i = 0; i < l->count; i++) {
        struct ledger_row row = l->rows[i];
        double ms = statistics_quantile(row.ms, l->steps, 0.5);
        json_array_append_new(rows,
                json_pack("{s:s, s:s, s:I, s:f, s:I, s:f}", "op", op_name(row.kind),
                        "what", row.what, "calls", (json_int_t)row.calls, "ms", ms,
                        "bytes", (json_int_t)row.bytes, "flops", row.flops));
    }
    return json_pack(
            "{s:i, s:f, s:o}", "steps", l->steps, "mark_ms", l->mark_ms, "ops", rows);
}
