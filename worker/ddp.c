#include "worker/ddp.h"

#include <assert.h>

#include "worker/round.h"

#define MB (1024 * 1024)

/* -- who does what -------------------------------------------------------------------
 */

/*
 * An all-reduce moves a table twice but for its own share, a gather a row a token.
 * Where nothing else writes into the table it need not travel at all, but then
 * micro-steps before the last have no way to add to it. What a rank hands in, tokens
 * and rows, are whole 16 bytes, for comm_all_gather().
 */
static bool should_gather_tokens(const struct shape *s) {
    int64_t bytes = s->rows * s->channels * (int64_t)dtype_size(s->type);
    return s->rows * s->world < 2 * s->vocab && s->rows % 4 == 0 && bytes % 16 == 0 &&
           (s->gpt || s->accumulate == 1);
}

/*
 * A sum holds a few of a GPU's multiprocessors. Products come in waves of as many
 * blocks as there are multiprocessors and lose a whole wave to it; attention's many
 * small blocks lose only what it holds. So what is ready waits for the next attention,
 * but only where all of them last as long as all sums: at 200 TFLOP/s and, by NVLink,
 * 200 GB/s from 1000 operations a byte on. Elsewhere waiting gains nothing, and what it
 * costs is at most a block's time.
 */
static bool attention_hides_sums(
        const struct shape *s, const struct parameters *parameters) {
    const double operations_per_byte = 1000;
    const struct attention_shape *a = &s->attention_shape;
    double operations = 5 * 2 * shape_seen_pairs(a) *
                        (double)(a->batch * a->heads * a->head_dim * s->layers);
    double bytes = (double)(parameters->elements * (int64_t)dtype_size(s->grad));
    return operations >= operations_per_byte * bytes;
}

/* Where the tables that an embedding adds to end: they stand first. */
static int64_t tables_end(const struct shape *s, const struct parameters *parameters) {
    return parameters->items[s->gpt ? 2 : 1].offset;
}

void ddp_init(struct ddp *d, const struct shape *shape, struct parameters *parameters,
        const struct params *params, int rank) {
    int world = (int)shape->world;
    *d = (struct ddp){.world = world,
            .rank = rank,
            .wrapper = world > 1 ? params_integer(params, PARAM_DDP) : DDP_NONE};
    d->least = (int64_t)(params_real(params, PARAM_BUCKET_MB) * MB /
                         (double)dtype_size(shape->grad));
    d->beside_attention = attention_hides_sums(shape, parameters);
    d->gathers_tokens = d->wrapper == DDP_BUCKETED && should_gather_tokens(shape);
    d->tables = d->gathers_tokens ? tables_end(shape, parameters) : 0;
    if (d->wrapper == DDP_BUCKETED) {
        buckets_init(&d->buckets, parameters, d->tables, d->least, d->least / 8, 1);
    } else if (d->wrapper == DDP_SHARDED) {
        // Whole chunks of the norm's for every rank: its bits do not depend on shards.
        int64_t unit = (int64_t)NORM_CHUNK * world;
        parameters_pad(parameters, unit);
        buckets_init(&d->buckets, parameters, 0, d->least, d->least / 8, unit);
        shards_init(&d->shards, &d->buckets, rank, world);
        parameters->owned = d->shards.elements;
        return;
    }
    shards_init_whole(&d->shards, parameters->elements);
}

void ddp_finish(struct ddp *d) {
    buckets_finish(&d->buckets);
    shards_finish(&d->shards);
}

/*
 * Products lose more than what is taken from them, so beside these reduce-scatters get
 * less: on two H200s four multiprocessors did better than eight, three and two. Beside
 * attention eight did: the last of them, for which all wait, ends sooner.
 */
enum comm_share ddp_share(const struct ddp *d) {
    bool overlaps = d->wrapper == DDP_BUCKETED || d->wrapper == DDP_SHARDED;
    bool least = d->wrapper == DDP_SHARDED && !d->beside_attention;
    return !overlaps ? COMM_SHARE_ALL : least ? COMM_SHARE_LEAST : COMM_SHARE_FEW;
}

/* -- reductions ----------------------------------------------------------------------
 */

static struct op reduction(
        const struct program *p, enum op_kind kind, int64_t from, int64_t to) {
    return (struct op){.kind = kind,
            .phase = p->phase,
            .operands = {{p->grads}},
            .from = from,
            .to = to};
}

static void reduce_at_end(struct program *p, int64_t from, int64_t to) {
    struct op op = reduction(p, OP_ALL_REDUCE, from, to);
    *program_add(p, OP_ALL_REDUCE, op.operands) = op;
}

/* Where parameter `i`'s slice of the arena ends, its padding included. */
static int64_t slice_end(const struct parameters *parameters, int i) {
    return i + 1 < parameters->count ? parameters->items[i + 1].offset
                                     : parameters->elements;
}

static void reduce_each(const struct parameters *parameters, struct program *p) {
    for (int i = 0; i < parameters->count; i++) {
        reduce_at_end(p, parameters->items[i].offset, slice_end(parameters, i));
    }
}

/* The operands of OP_EMBEDDING_BACKWARD. */
enum {
    EMBEDDING_DTABLE,
    EMBEDDING_DPOSITIONS,
    EMBEDDING_SCRATCH,
    EMBEDDING_DOUT,
    EMBEDDING_TOKENS
};

static int find_embedding_backward(const struct program *p) {
    int i = p->op_count - 1;
    while (i >= 0 && p->ops[i].kind != OP_EMBEDDING_BACKWARD) {
        i--;
    }
    return i;
}

/* The last op before `before` that writes into [from, to) of the gradients. */
static int ready_at(const struct parameters *parameters, const struct program *p,
        struct bucket range, int before) {
    int ready = -1;
    for (int i = 0; i < parameters->count; i++) {
        if (parameters->items[i].offset < range.to &&
                slice_end(parameters, i) > range.from) {
            int written = program_last_write(p, p->grad[i], before);
            ready = written > ready ? written : ready;
        }
    }
    return ready;
}

/*
 * Behind which op to queue what is ready behind op `ready`: in front of the next
 * attention, where that hides it.
 */
static int find_beside(const struct ddp *d, const struct program *p, int ready) {
    if (!d->beside_attention) {
        return ready;
    }
    for (int i = ready + 1; i < p->op_count && p->ops[i].phase == PHASE_BACKWARD; i++) {
        if (p->ops[i].kind == OP_ATTENTION_BACKWARD) {
            return i - 1;
        }
    }
    return ready;
}

/* Queue the reduction of `range` behind the op at `index`. */
static void insert_reduction(
        const struct ddp *d, struct program *p, int index, struct bucket range) {
    enum op_kind kind = d->wrapper == DDP_SHARDED ? OP_REDUCE_SCATTER : OP_ALL_REDUCE;
    struct op op = reduction(p, kind, range.from, range.to);
    op.phase = PHASE_BACKWARD;
    op.when = WHEN_LAST_MICRO;
    program_insert(p, index, &op);
}

/* In front of what a slice has to be written: what the embedding adds comes later where
 * it is gathered. */
static int written_before(const struct ddp *d, const struct program *p) {
    return d->gathers_tokens ? find_embedding_backward(p) : p->op_count;
}

/*
 * Queue each bucket once the op that fills it has run, and behind those queued before:
 * they run in one order on every rank. A tied table's comes first, which the head has
 * written into.
 */
static void declare_buckets(const struct ddp *d, const struct shape *shape,
        const struct parameters *parameters, struct program *p) {
    bool tied = d->gathers_tokens && shape->gpt;
    int queued_at = -1;
    for (int i = tied ? -1 : 0; i < d->buckets.count; i++) {
        struct bucket range = i < 0 ? (struct bucket){0, slice_end(parameters, 1)}
                                    : d->buckets.items[i];
        int ready = ready_at(parameters, p, range, written_before(d, p));
        ready = find_beside(d, p, ready > queued_at ? ready : queued_at);
        insert_reduction(d, p, ready, range);
        queued_at = ready + 1;
    }
}

/* -- beside attention ----------------------------------------------------------------
 */

/* What is still to be queued, the ends of both first: a tied table, which the head has
 * written into before all others, and what no embedding adds to. */
struct rest {
    struct bucket table, others;
};

/* Down to where the end of `left` has been written in front of the op at `index`. */
static int64_t ready_down_to(const struct ddp *d, const struct parameters *parameters,
        const struct program *p, struct bucket left, int index) {
    int before = written_before(d, p);
    int64_t down_to = left.to;
    for (int i = parameters->count - 1; i >= 0; i--) {
        const struct parameter *it = &parameters->items[i];
        if (it->offset >= left.to || slice_end(parameters, i) <= left.from) {
            continue;
        }
        if (program_last_write(p, p->grad[i], before) >= index) {
            break;
        }
        down_to = it->offset;
    }
    return down_to > left.from ? down_to : left.from;
}

/* Queue the end of `left`, `most` elements of it at most, in front of the op at *index,
 * which moves; how many. */
static int64_t queue_end(const struct ddp *d, struct program *p, struct bucket *left,
        int64_t down_to, int64_t most, int *index) {
    const int64_t unit = PARAMETER_ALIGN; // whole 16 bytes, as collectives ask for
    int64_t from = left->to - most > down_to ? left->to - most : down_to;
    from = from > down_to ? round_up(from, unit) : from;
    int64_t count = left->to - from;
    if (count > 0) {
        insert_reduction(d, p, (*index)++ - 1, (struct bucket){from, left->to});
        left->to = from;
    }
    return count;
}

static void declare_when_ready(const struct ddp *d, const struct parameters *parameters,
        struct program *p, struct bucket range) {
    if (range.to > range.from) {
        int ready = ready_at(parameters, p, range, written_before(d, p));
        insert_reduction(d, p, ready, range);
    }
}

/*
 * Share the sums out among the attentions: in front of each goes a like part of all, of
 * what has been written by then. What the last attention comes too early for goes last:
 * little of the first block, and tables that only the embedding writes into.
 */
static void declare_beside_attention(const struct ddp *d, const struct shape *shape,
        const struct parameters *parameters, struct program *p) {
    int64_t from = d->tables;
    int64_t blocks = tables_end(shape, parameters);
    struct rest left = {.table = {0, shape->gpt ? from : 0},
            .others = {from, parameters->elements}};
    int64_t all = left.table.to + left.others.to - from, slots = shape->layers;
    // So large that all would wait for the last attention, a bucket hides nothing.
    int64_t least = d->least < all / 3 ? d->least : all / 3;
    int64_t share = all / slots > least ? all / slots : least;
    for (int i = 0; i < p->op_count; i++) {
        if (p->ops[i].kind != OP_ATTENTION_BACKWARD) {
            continue;
        }
        slots--;
        int64_t table = ready_down_to(d, parameters, p, left.table, i);
        int64_t others = ready_down_to(d, parameters, p, left.others, i);
        int64_t ready = left.table.to - table + left.others.to - others;
        int64_t most = slots == 0 ? ready : ready < least ? 0 : share;
        most -= queue_end(d, p, &left.table, table, most, &i);
        if (left.table.to == 0) {
            queue_end(d, p, &left.others, others, most, &i);
        }
    }
    declare_when_ready(d, parameters, p, (struct bucket){blocks, left.others.to});
    declare_when_ready(d, parameters, p, (struct bucket){from, blocks});
}

static void declare_wait(struct program *p, int of, int pending) {
    program_add(p, OP_COMM_WAIT, (struct operands){{of}})->pending = pending;
}

/* The last product for a weight runs while the embedding's rows travel: nothing that
 * they need comes from it. */
static void defer_last_product(struct program *p) {
    int end = find_embedding_backward(p) - 1, product = end;
    while (p->ops[product].kind != OP_MATMUL_BACKWARD_WEIGHT) {
        product--;
        assert(product >= 0);
    }
    program_move(p, product, end);
}

/* Queue a gather of each rank's tensor `own` into `all`, ABSENT where it lies there
 * already, behind the op at `index`. */
static void insert_gather(struct program *p, int index, int all, int own) {
    struct op op = {.kind = OP_ALL_GATHER,
            .phase = PHASE_BACKWARD,
            .when = WHEN_LAST_MICRO,
            .operands = {{all, own}},
            .to = tensor_count(&p->tensors[all].tensor)};
    program_insert(p, index, &op);
}

/* How many collectives are queued behind the op at `index`. */
static int queued_behind(const struct program *p, int index) {
    int queued = 0;
    for (int i = index + 1; i < p->op_count; i++) {
        queued += op_communicates(p->ops[i].kind);
    }
    return queued;
}

/*
 * The last norm's gradient is written where its gather wants this rank's: rows that
 * need not be copied there are under way half a gather earlier. Behind which op they
 * are ready.
 */
static int write_in_place(
        const struct ddp *d, const struct shape *s, struct program *p, int all) {
    int local = find_embedding_backward(p);
    int *dout = &p->ops[local].operands.id[EMBEDDING_DOUT];
    struct tensor rows = program_shape(s->type, s->rows, s->channels, 0, 0);
    struct tensor cube = program_shape(s->type, s->batch, s->seq_len, s->channels, 0);
    int64_t place = d->rank * (int64_t)tensor_bytes(&rows);
    int norm = program_last_write(p, p->tensors[*dout].base, local);
    assert(norm >= 0 && (p->ops[norm].kind == OP_LAYERNORM_BACKWARD ||
                                p->ops[norm].kind == OP_RMSNORM_BACKWARD));
    p->ops[norm].operands.id[0] = program_view(p, all, place, rows);
    *dout = program_view(p, all, place, cube);
    return norm;
}

/*
 * The last micro-step's embedding backward runs over the tokens of all ranks, once the
 * table has been reduced; those before it have added to the table as they came.
 */
static void declare_token_gather(
        const struct ddp *d, const struct shape *s, struct program *p) {
    int local = find_embedding_backward(p);
    struct operands own = p->ops[local].operands;
    p->ops[local].when = WHEN_BEFORE_LAST_MICRO;
    int64_t batch = s->batch * s->world;
    int dout = program_tensor(p, OWNER_ACTIVATIONS, "dresidual of all ranks",
            program_shape(s->type, batch, s->seq_len, s->channels, 0));
    int tokens = program_tensor(p, OWNER_ACTIVATIONS, "tokens of all ranks",
            program_shape(DTYPE_I32, batch, s->seq_len, 0, 0));
    int ready = write_in_place(d, s, p, dout);
    insert_gather(p, ready, dout, ABSENT);
    insert_gather(p, ready - 1, tokens, own.id[EMBEDDING_TOKENS]);
    int behind = queued_behind(p, ready + 2);
    declare_wait(p, p->grads, behind + 1); // for ddp_parts(): what is in front of rows
    declare_wait(p, dout, behind);
    int scratch = program_scratch(p,
            s->kernels->embedding_scratch(s->rows * s->world, s->vocab, s->channels));
    program_add(p, OP_EMBEDDING_BACKWARD,
            (struct operands){{own.id[EMBEDDING_DTABLE], own.id[EMBEDDING_DPOSITIONS],
                    scratch, dout, tokens}})
            ->accumulate = s->gpt ? ACCUMULATE : OVERWRITE;
}

void ddp_declare(const struct ddp *d, const struct shape *shape,
        const struct parameters *parameters, struct program *p) {
    p->phase = PHASE_REDUCE;
    switch (d->wrapper) {
    case DDP_NONE:
        return;
    case DDP_NAIVE:
        reduce_each(parameters, p);
        break;
    case DDP_FLAT:
        reduce_at_end(p, 0, parameters->elements);
        break;
    default:
        if (d->gathers_tokens) {
            defer_last_product(p);
        }
        // A shard's slice is whole: it travels at once.
        if (d->beside_attention && d->wrapper == DDP_BUCKETED) {
            declare_beside_attention(d, shape, parameters, p);
        } else {
            declare_buckets(d, shape, parameters, p);
        }
        break;
    }
    if (d->gathers_tokens) {
        declare_token_gather(d, shape, p);
    }
    declare_wait(p, p->grads, 0);
}

int ddp_parts(const struct ddp *d, const struct program *p, int64_t elements,
        struct ddp_part parts[DDP_PARTS]) {
    int last = p->op_count - 1, first = program_tail(p);
    assert(d->wrapper != DDP_SHARDED);
    if (!d->gathers_tokens) {
        parts[0] = (struct ddp_part){0, elements, last};
        return 1;
    }
    int64_t tables = d->tables / NORM_CHUNK * NORM_CHUNK, late = d->tables;
    // The first wait is for all in front of the rows; what is behind them is late.
    for (int i = first - 1; p->ops[i].kind != OP_ALL_GATHER; i--) {
        assert(i > 0);
        if (p->ops[i].kind == OP_ALL_REDUCE) {
            assert(p->ops[i].from >= d->tables);
            late = p->ops[i].to > late ? p->ops[i].to : late;
        }
    }
    late = round_up(late, NORM_CHUNK);
    late = late < elements ? late : elements;
    parts[0] = (struct ddp_part){late, elements, first};
    parts[1] = (struct ddp_part){0, tables, find_embedding_backward(p)};
    parts[2] = (struct ddp_part){tables, late, last};
    return DDP_PARTS;
}

/* -- the gather of weights -----------------------------------------------------------
 */

/* The first buckets in forward's order that `op` needs: 0 where it reads no weight. */
static int needs(const struct ddp *d, const struct parameters *parameters,
        const struct program *p, const struct op *op) {
    const char *access = op_access(op->kind);
    int64_t end = 0;
    for (int k = 0; access[k]; k++) {
        for (int i = 0; i < parameters->count; i++) {
            if (op->operands.id[k] == p->weight[i]) {
                int64_t last = slice_end(parameters, i);
                end = last > end ? last : end;
            }
        }
    }
    int count = 0;
    for (int i = d->buckets.count - 1; i >= 0 && d->buckets.items[i].from < end; i--) {
        count++;
    }
    return count;
}

void ddp_declare_gather(
        const struct ddp *d, const struct parameters *parameters, struct program *p) {
    if (d->wrapper != DDP_SHARDED) {
        return;
    }
    struct op op = {.kind = OP_ALL_GATHER,
            .phase = PHASE_FORWARD,
            .when = WHEN_FIRST_MICRO,
            .operands = {{p->weights}}};
    int count = d->buckets.count, awaited = 0;
    for (int i = 0; i < count; i++) { // each goes to the front: the last is the first
        op.from = d->buckets.items[i].from;
        op.to = d->buckets.items[i].to;
        program_insert(p, -1, &op);
    }
    op = (struct op){.kind = OP_COMM_WAIT,
            .phase = PHASE_FORWARD,
            .when = WHEN_FIRST_MICRO,
            .operands = {{p->weights}}};
    for (int i = count; awaited < count && i < p->op_count; i++) {
        int needed = needs(d, parameters, p, &p->ops[i]);
        if (needed > awaited) {
            awaited = needed;
            op.pending = count - awaited;
            program_insert(p, i - 1, &op);
            i++;
        }
    }
    assert(awaited == count);
}
