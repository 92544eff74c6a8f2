#include "worker/ddp.h"

#include <stdlib.h>

static struct op all_reduce(const struct program *p, int64_t from, int64_t to) {
    return (struct op){.kind = OP_ALL_REDUCE,
            .phase = p->phase,
            .operands = {{p->grads}},
            .from = from,
            .to = to};
}

static void reduce_at_end(struct program *p, int64_t from, int64_t to) {
    struct op op = all_reduce(p, from, to);
    *program_add(p, OP_ALL_REDUCE, op.operands) = op;
}

/* Where parameter `i`'s slice of the arena ends, its padding included. */
static int64_t slice_end(const struct parameters *parameters, int i) {
    return i + 1 < parameters->count ? parameters->items[i + 1].offset
                                     : parameters->elements;
}

/*
 * From the last parameter to the first, as backward fills them; a bucket is ready when
 * its slowest member is. Inserting moves later ops, so each bucket looks its members'
 * last writers up anew; they run in arena order on every rank alike.
 */
static void declare_buckets(
        struct program *p, const struct parameters *parameters, int64_t bucket_bytes) {
    int64_t element = (int64_t)dtype_size(p->tensors[p->grads].tensor.type);
    int last = parameters->count - 1, queued_at = -1;
    while (last >= 0) {
        int64_t to = slice_end(parameters, last);
        int ready = queued_at;
        int i = last;
        for (; i >= 0; i--) {
            int written = program_last_write(p, p->grad[i]);
            ready = written > ready ? written : ready;
            if ((to - parameters->items[i].offset) * element >= bucket_bytes) {
                break;
            }
        }
        int first = i < 0 ? 0 : i;
        struct op op = all_reduce(p, parameters->items[first].offset, to);
        op.phase = PHASE_BACKWARD;
        op.when = WHEN_LAST_MICRO;
        program_insert(p, ready, &op);
        queued_at = ready + 1;
        last = first - 1;
    }
}

void ddp_declare(struct program *p, const struct parameters *parameters,
        const struct params *params, int world) {
    if (world == 1) {
        return;
    }
    p->phase = PHASE_REDUCE;
    switch (params_integer(params, PARAM_DDP)) {
    case DDP_NAIVE:
        for (int i = 0; i < parameters->count; i++) {
            int64_t from = parameters->items[i].offset;
            reduce_at_end(p, from, from + parameters->items[i].count);
        }
        break;
    case DDP_FLAT:
        reduce_at_end(p, 0, parameters->elements);
        break;
    case DDP_BUCKETED:
        declare_buckets(p, parameters,
                (int64_t)(params_real(params, PARAM_BUCKET_MB) * 1024 * 1024));
        break;
    }
    program_add(p, OP_COMM_WAIT, (struct operands){{p->grads}});
}
