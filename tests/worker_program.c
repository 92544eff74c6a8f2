#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/helpers/cell.h"
#include "worker/ddp.h"
#include "worker/model.h"
#include "worker/optimizer.h"
#include "worker/program.h"

static int floats(struct program *p, int64_t count) {
    return program_tensor(
            p, OWNER_ACTIVATIONS, "t", program_shape(DTYPE_F32, count, 0, 0, 0));
}

static void reading_before_writing_is_refused(void **state) {
    (void)state;
    struct program p;
    struct text err = {0};
    program_init(&p);
    int a = floats(&p, 4), b = floats(&p, 4);
    program_add(&p, OP_GELU_FORWARD, (struct operands){{b, a}});
    assert_false(program_check(&p, &err));
    assert_non_null(strstr(text_get(&err), "'gelu_forward' reads 't'"));
    text_finish(&err);
    program_insert(&p, -1, &(struct op){.kind = OP_ZERO, .operands = {{a}}});
    assert_true(program_check(&p, &err));
    program_finish(&p);
}

static void an_op_after_a_later_phase_is_refused(void **state) {
    (void)state;
    struct program p;
    struct text err = {0};
    program_init(&p);
    int a = floats(&p, 4);
    p.phase = PHASE_BACKWARD;
    program_add(&p, OP_ZERO, (struct operands){{a}});
    p.phase = PHASE_FORWARD;
    program_add(&p, OP_ZERO, (struct operands){{a}});
    assert_false(program_check(&p, &err));
    text_finish(&err);
    program_finish(&p);
}

static void lifetimes_span_first_to_last_use(void **state) {
    (void)state;
    struct program p;
    program_init(&p);
    int a = floats(&p, 8), b = floats(&p, 8), unused = floats(&p, 8);
    int view = program_view(&p, a, 16, program_shape(DTYPE_F32, 4, 0, 0, 0));
    program_add(&p, OP_ZERO, (struct operands){{a}});
    program_add(&p, OP_ZERO, (struct operands){{b}});
    program_add(&p, OP_GELU_FORWARD, (struct operands){{b, view}});
    program_lifetimes(&p);
    assert_int_equal(p.tensors[a].first, 0);
    assert_int_equal(p.tensors[a].last, 2);
    assert_int_equal(p.tensors[b].first, 1);
    assert_int_equal(p.tensors[unused].first, -1);
    assert_int_equal(program_last_write(&p, b, p.op_count), 2);
    assert_int_equal(program_last_write(&p, view, p.op_count), -1);
    assert_int_equal(program_view(&p, ABSENT, 0, p.tensors[a].tensor), ABSENT);
    assert_int_equal(program_scratch(&p, 0), ABSENT);
    program_finish(&p);
}

/* -- the programs of cells -----------------------------------------------------------
 */

struct built {
    struct cell cell;
    struct shape shape;
    struct parameters parameters;
    struct ddp ddp;
    struct program program;
};

static void build(struct built *b, const char *words, int world) {
    struct text err = {0};
    bool unsupported;
    cell_init(&b->cell, kernels_cpu(), words);
    b->cell.options.world = world;
    assert_true(shape_init(&b->shape, &b->cell.options, &unsupported, &err));
    parameters_init(&b->parameters, &b->cell.params, b->cell.options.vocab, 1);
    ddp_init(&b->ddp, &b->shape, &b->parameters, &b->cell.params, 0);
    program_init(&b->program);
    model_declare_training(&b->shape, &b->parameters, &b->program);
    ddp_declare(&b->ddp, &b->shape, &b->parameters, &b->program);
    ddp_declare_gather(&b->ddp, &b->parameters, &b->program);
    optimizer_declare(&b->program, &b->parameters, &b->ddp);
    assert_true(program_check(&b->program, &err));
}

static void finish(struct built *b) {
    program_finish(&b->program);
    ddp_finish(&b->ddp);
    parameters_finish(&b->parameters);
    cell_destroy(&b->cell);
}

static int count_ops(const struct program *p, enum op_kind kind) {
    int count = 0;
    for (int i = 0; i < p->op_count; i++) {
        count += p->ops[i].kind == kind;
    }
    return count;
}

static void every_gradient_is_written(void **state) {
    (void)state;
    static const char *const cases[] = {"arch=gpt", "arch=llama",
            "arch=gpt checkpoint=block recompute=act_norm",
            "arch=llama checkpoint=block checkpoint_every=2"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct built b;
        build(&b, cases[i], 1);
        for (int k = 0; k < b.parameters.count; k++) {
            assert_true(program_last_write(&b.program, b.program.grad[k],
                                b.program.op_count) >= 0);
        }
        assert_int_equal(count_ops(&b.program, OP_ALL_REDUCE), 0);
        finish(&b);
    }
}

static void checkpointing_runs_each_block_twice(void **state) {
    (void)state;
    struct built plain, again;
    build(&plain, "arch=gpt layers=5", 1);
    build(&again, "arch=gpt layers=5 checkpoint=block checkpoint_every=2", 1);
    assert_int_equal(count_ops(&plain.program, OP_ATTENTION_FORWARD), 5);
    assert_int_equal(count_ops(&again.program, OP_ATTENTION_FORWARD), 10);
    // Four products a block and the head; a segment's last is not needed again.
    assert_int_equal(count_ops(&plain.program, OP_MATMUL_FORWARD), 5 * 4 + 1);
    assert_int_equal(count_ops(&again.program, OP_MATMUL_FORWARD), 5 * 8 + 1 - 3);
    assert_int_equal(count_ops(&again.program, OP_MATMUL_BACKWARD_WEIGHT),
            count_ops(&plain.program, OP_MATMUL_BACKWARD_WEIGHT));
    finish(&plain);
    finish(&again);
}

/* Whether the wait at op `wait` is for op `at`, if that communicates. */
static bool is_awaited(const struct program *p, int wait, int at) {
    int behind = 0;
    for (int i = at + 1; i < wait; i++) {
        behind += op_communicates(p->ops[i].kind);
    }
    return p->ops[wait].kind == OP_COMM_WAIT && p->ops[wait].pending <= behind;
}

/*
 * Whether op `at` stands behind all that writes parameter `k`'s gradient, but for what
 * an embedding adds once `at` has been awaited.
 */
static bool stands_behind(const struct program *p, int k, int at) {
    int written = program_last_write(p, p->grad[k], p->op_count);
    if (written > at && p->ops[written].kind == OP_EMBEDDING_BACKWARD) {
        assert_int_equal(p->ops[written].phase, PHASE_REDUCE);
        assert_true(is_awaited(p, written - 1, at));
        int local = program_last_write(p, p->grad[k], written);
        bool earlier = p->ops[local].when == WHEN_BEFORE_LAST_MICRO;
        written = program_last_write(p, p->grad[k], earlier ? local : written);
    }
    return written < at;
}

/* Each element is reduced exactly once, no sooner than its last writer has run. */
static void check_reductions(const char *words, int reductions) {
    struct built b;
    build(&b, words, 2);
    const struct program *p = &b.program;
    char *times = text_allocate_zeroed((size_t)b.parameters.elements, 1);
    int wait = -1, found = 0;
    for (int i = 0; i < p->op_count; i++) {
        const struct op *op = &p->ops[i];
        bool reduces = (op->kind == OP_ALL_REDUCE || op->kind == OP_REDUCE_SCATTER) &&
                       op->operands.id[0] == p->grads;
        wait = op->kind == OP_COMM_WAIT && op->phase > PHASE_FORWARD ? i : wait;
        if (!reduces) {
            continue;
        }
        found++;
        assert_int_equal(wait, -1);
        for (int64_t e = op->from; e < op->to; e++) {
            times[e]++;
        }
        for (int k = 0; k < b.parameters.count; k++) {
            const struct parameter *it = &b.parameters.items[k];
            bool inside = it->offset < op->to && it->offset + it->count > op->from;
            assert_true(!inside || stands_behind(p, k, i));
        }
    }
    // An untied table whose tokens are gathered is whole without.
    bool gathered = b.ddp.gathers_tokens && !b.shape.gpt;
    for (int k = 0; k < b.parameters.count; k++) {
        const struct parameter *it = &b.parameters.items[k];
        for (int64_t e = 0; e < it->count; e++) {
            assert_int_equal(times[it->offset + e], gathered && k == 0 ? 0 : 1);
        }
    }
    assert_true(wait >= 0);
    assert_true(reductions ? found == reductions : found > 1);
    free(times);
    finish(&b);
}

static void wrappers_reduce_every_element_once_after_it_is_ready(void **state) {
    (void)state;
    check_reductions("arch=gpt ranks=2 ddp=naive", 2 + 2 * 12 + 2);
    check_reductions("arch=gpt ranks=2 ddp=flat", 1);
    // The tables, whose tokens are gathered, and the rest.
    check_reductions("arch=gpt ranks=2 ddp=bucketed bucket_mb=1000", 2);
    // More tokens than rows: not worth gathering.
    check_reductions("arch=gpt batch=8 ranks=2 ddp=bucketed bucket_mb=1000", 1);
    // An untied table of which only tokens travel, but for micro-steps that cannot.
    check_reductions("arch=llama ranks=2 ddp=bucketed bucket_mb=1000", 1);
    check_reductions("arch=llama ranks=2 ddp=bucketed bucket_mb=1000 accumulate=2", 1);
    check_reductions("arch=gpt ranks=2 ddp=bucketed bucket_mb=0.01", 0);
    check_reductions("arch=llama ranks=2 ddp=bucketed bucket_mb=0.001", 0);
    // Shared out among attentions, with tokens gathered and without.
    check_reductions("arch=gpt layers=8 heads=1 d_model=8 d_ff=8 vocab=700 seq_len=640 "
                     "batch=1 ranks=2 ddp=bucketed bucket_mb=0.005",
            0);
    check_reductions("arch=llama layers=6 d_model=32 heads=2 seq_len=512 batch=4 "
                     "ranks=2 ddp=bucketed bucket_mb=0.02",
            0);
    check_reductions(
            "arch=llama ranks=2 ddp=bucketed bucket_mb=0.02 checkpoint=block", 0);
    check_reductions("arch=gpt ranks=2 ddp=sharded bucket_mb=1000", 1);
    check_reductions("arch=llama d_model=256 ranks=2 ddp=sharded bucket_mb=1", 0);
}

/* Of `words`, under sharded: every weight is awaited before forward reads it. */
static void check_gathers(const char *words) {
    struct built b;
    build(&b, words, 2);
    const struct program *p = &b.program;
    int64_t queued[256];
    int count = 0, done = 0;
    for (int i = 0; i < p->op_count; i++) {
        const struct op *op = &p->ops[i];
        if (op->kind == OP_ALL_GATHER) {
            assert_true(count < 256);
            assert_int_equal(op->from, count ? queued[count - 1] : 0);
            queued[count++] = op->to;
        } else if (op->kind == OP_COMM_WAIT && op->phase == PHASE_FORWARD) {
            done = count - op->pending;
        }
        for (int k = 0; k < b.parameters.count && op->phase < PHASE_OPTIMIZER; k++) {
            const struct parameter *it = &b.parameters.items[k];
            for (int o = 0; o < OPERANDS_MAX; o++) {
                bool reads = op->operands.id[o] == p->weight[k];
                assert_true(
                        !reads || (done && queued[done - 1] >= it->offset + it->count));
            }
        }
    }
    assert_int_equal(queued[count - 1], b.parameters.elements);
    finish(&b);
}

static void sharded_weights_are_gathered_before_they_are_used(void **state) {
    (void)state;
    check_gathers("arch=gpt d_model=256 ranks=2 ddp=sharded bucket_mb=0.5");
    check_gathers("arch=llama d_model=256 ranks=2 ddp=sharded bucket_mb=1");
    check_gathers("arch=gpt ranks=2 ddp=sharded checkpoint=block");
}

/* The elements that rank `rank` of `world` updates, added to `times` [elements]. */
static int64_t count_updates(const char *words, int rank, int world, char *times) {
    struct built b;
    struct ddp d;
    build(&b, words, world);
    ddp_init(&d, &b.shape, &b.parameters, &b.cell.params, rank);
    int64_t state = 0, elements = b.parameters.elements;
    for (int i = 0; times && i < d.shards.count; i++) {
        const struct shard *s = &d.shards.items[i];
        assert_int_equal(s->state, state);
        state += s->count;
        for (int64_t e = s->from; e < s->from + s->count; e++) {
            times[e]++;
        }
    }
    assert_true(!times || (state == d.shards.elements && state == elements / world));
    ddp_finish(&d);
    finish(&b);
    return elements;
}

static void shards_of_all_ranks_cover_the_arena_once(void **state) {
    (void)state;
    static const char words[] =
            "arch=llama d_model=256 ranks=3 ddp=sharded bucket_mb=1";
    int64_t elements = count_updates(words, 0, 3, NULL);
    char *times = text_allocate_zeroed((size_t)elements, 1);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(count_updates(words, r, 3, times), elements);
    }
    for (int64_t e = 0; e < elements; e++) {
        assert_int_equal(times[e], 1);
    }
    free(times);
}

static void buckets_are_queued_while_backward_still_runs(void **state) {
    (void)state;
    struct built b;
    build(&b, "arch=llama layers=6 ranks=2 ddp=bucketed bucket_mb=0.02", 2);
    int first = -1, last_backward = -1;
    for (int i = 0; i < b.program.op_count; i++) {
        const struct op *op = &b.program.ops[i];
        if (op->kind == OP_ALL_REDUCE && first < 0) {
            first = i;
            assert_int_equal(op->when, WHEN_LAST_MICRO);
        }
        last_backward = op->kind == OP_EMBEDDING_BACKWARD ? i : last_backward;
    }
    assert_true(first > 0 && first < last_backward - 40);
    finish(&b);
}

/* Where an op of this kind stands first from `from` on; the program's end: nowhere. */
static int find_op(const struct program *p, enum op_kind kind, int from) {
    int i = from;
    while (i < p->op_count && p->ops[i].kind != kind) {
        i++;
    }
    return i;
}

/*
 * What embeddings add travels beside the last product for a weight, and the reduction
 * of that while they add.
 */
static void check_tail(const char *words, int parts) {
    struct built b;
    build(&b, words, 2);
    const struct program *p = &b.program;
    assert_true(b.ddp.gathers_tokens);
    int tokens = find_op(p, OP_ALL_GATHER, 0);
    int rows = find_op(p, OP_ALL_GATHER, tokens + 1);
    assert_int_equal(rows, tokens + 2); // around the norm that completes the rows
    assert_int_equal(p->ops[tokens].when, WHEN_LAST_MICRO);
    assert_int_equal(p->ops[rows].when, WHEN_LAST_MICRO);
    assert_int_equal(p->ops[rows + 1].kind, OP_MATMUL_BACKWARD_WEIGHT);
    assert_int_equal(p->ops[rows + 1].when, WHEN_ALWAYS);
    assert_int_equal(p->ops[rows + 2].kind, OP_ALL_REDUCE);
    int early = program_tail(p);
    assert_true(is_awaited(p, early, tokens) && !is_awaited(p, early, rows));
    int wait = find_op(p, OP_COMM_WAIT, early + 1);
    assert_true(is_awaited(p, wait, rows) && !is_awaited(p, wait, rows + 2));
    int add = wait + 1, last = find_op(p, OP_COMM_WAIT, wait + 1);
    assert_int_equal(p->ops[add].kind, OP_EMBEDDING_BACKWARD);
    assert_int_equal(p->ops[last].pending, 0);
    // The norm of what is whole, where there is a chunk of it, in front of either wait.
    assert_int_equal(wait, early + (parts > 1 ? 2 : 1));
    assert_int_equal(last, add + (parts > 2 ? 2 : 1));
    assert_int_equal(count_ops(p, OP_NORM_PARTIALS), parts);
    assert_int_equal(p->ops[last + 1].kind, OP_NORM_PARTIALS);
    finish(&b);
}

static void embedded_rows_travel_beside_the_last_product(void **state) {
    (void)state;
    check_tail("arch=gpt vocab=900 layers=5 ranks=2 ddp=bucketed bucket_mb=0.02", 2);
    check_tail("arch=gpt vocab=900 layers=1 accumulate=2 ranks=2 ddp=bucketed", 1);
    check_tail("arch=llama vocab=900 layers=3 ranks=2 ddp=bucketed bucket_mb=0.02", 2);
    check_tail("arch=gpt vocab=900 checkpoint=block recompute=act ranks=2 ddp=bucketed",
            1);
    check_tail("arch=llama vocab=900 layers=8 d_model=64 ranks=2 ddp=bucketed "
               "bucket_mb=0.02",
            2);
    check_tail("arch=gpt vocab=2000 layers=8 d_model=64 ranks=2 ddp=bucketed "
               "bucket_mb=0.02",
            3);
}

/* Whether the two tensors share bytes. */
static bool overlap(const struct program *p, int a, int b) {
    const struct program_tensor *x = &p->tensors[a], *y = &p->tensors[b];
    int64_t x_end = x->offset + (int64_t)tensor_bytes(&x->tensor);
    int64_t y_end = y->offset + (int64_t)tensor_bytes(&y->tensor);
    return x->base == y->base && x->offset < y_end && y->offset < x_end;
}

/* Elements [from, to) of an arena that a tensor is a view of. */
static void find_elements(const struct program *p, int id, int64_t *from, int64_t *to) {
    const struct program_tensor *t = &p->tensors[id];
    *from = t->offset / (int64_t)dtype_size(t->tensor.type);
    *to = *from + tensor_count(&t->tensor);
}

/* All that writes into the gradients an op reads stands in front of it, awaited. */
static void must_be_whole(const struct built *b, int index) {
    const struct program *p = &b->program;
    int grads = p->ops[index].operands.id[1];
    int64_t from, to;
    find_elements(p, grads, &from, &to);
    for (int i = 0; i < p->op_count; i++) {
        const struct op *op = &p->ops[i];
        if (op->kind != OP_ALL_REDUCE || op->from >= to || from >= op->to) {
            continue;
        }
        bool awaited = false;
        for (int wait = i + 1; wait < index; wait++) {
            awaited = awaited || is_awaited(p, wait, i);
        }
        assert_true(awaited);
    }
    for (int k = 0; k < b->parameters.count; k++) {
        int written = program_last_write(p, p->grad[k], p->op_count);
        assert_true(!overlap(p, p->grad[k], grads) || written < index);
    }
}

/* Each chunk is summed once, and not before it is whole. */
static void check_norm(const char *words, int parts, bool beside_attention) {
    struct built b;
    build(&b, words, 2);
    const struct program *p = &b.program;
    assert_int_equal(b.ddp.beside_attention, beside_attention);
    assert_int_equal(count_ops(p, OP_NORM_PARTIALS), parts);
    int64_t chunks = (b.parameters.elements + NORM_CHUNK - 1) / NORM_CHUNK;
    char *times = text_allocate_zeroed((size_t)chunks, 1);
    for (int i = 0; i < p->op_count; i++) {
        if (p->ops[i].kind != OP_NORM_PARTIALS) {
            continue;
        }
        must_be_whole(&b, i);
        int64_t from, to, first, end;
        find_elements(p, p->ops[i].operands.id[1], &from, &to);
        find_elements(p, p->ops[i].operands.id[0], &first, &end);
        assert_int_equal(from, first * NORM_CHUNK);
        assert_true(to == end * NORM_CHUNK || to == b.parameters.elements);
        for (int64_t k = first; k < end; k++) {
            times[k]++;
        }
    }
    for (int64_t k = 0; k < chunks; k++) {
        assert_int_equal(times[k], 1);
    }
    free(times);
    finish(&b);
}

static void the_norm_is_of_whole_gradients(void **state) {
    (void)state;
    check_norm("arch=gpt vocab=2000 layers=8 d_model=64 ranks=2 ddp=bucketed "
               "bucket_mb=0.02",
            3, false);
    check_norm("arch=llama vocab=2000 layers=8 d_model=64 ranks=2 ddp=bucketed "
               "bucket_mb=0.3 batch=8 precision=bf16",
            3, false);
    check_norm("arch=gpt vocab=2000 layers=4 d_model=64 ranks=2 ddp=bucketed "
               "bucket_mb=1000",
            2, false);
    check_norm("arch=gpt vocab=2400 layers=6 d_model=64 seq_len=512 batch=4 ranks=2 "
               "ddp=bucketed bucket_mb=0.02",
            3, true);
    check_norm("arch=gpt vocab=2000 layers=3 d_model=64 ranks=2 ddp=flat", 1, false);
}

/* What is waited for is communication, the norm the optimizer's wherever it stands. */
static void ops_of_the_tail_are_timed_as_what_they_are(void **state) {
    (void)state;
    struct built b;
    build(&b,
            "arch=gpt vocab=2000 layers=8 d_model=64 ranks=2 ddp=bucketed "
            "bucket_mb=0.02",
            2);
    int norms = 0;
    for (int i = program_tail(&b.program); i < b.program.op_count; i++) {
        const struct op *op = &b.program.ops[i];
        norms += op->kind == OP_NORM_PARTIALS && op->phase == PHASE_REDUCE;
        assert_int_equal(op_timed_as(op), op->kind == OP_COMM_WAIT ? PHASE_REDUCE
                                          : op->kind == OP_EMBEDDING_BACKWARD
                                                  ? PHASE_BACKWARD
                                                  : PHASE_OPTIMIZER);
    }
    assert_int_equal(norms, 2);
    finish(&b);
}

static bool gathers_tokens(const char *words) {
    struct built b;
    build(&b, words, 2);
    bool gathers = b.ddp.gathers_tokens;
    finish(&b);
    return gathers;
}

static void only_whole_16_bytes_are_gathered(void **state) {
    (void)state;
    // Four rows of 9 channels: 144 bytes in fp32, 72 in bf16; then eight; then six.
    assert_true(gathers_tokens("arch=gpt d_model=9 heads=3 seq_len=4 batch=1 vocab=900 "
                               "ranks=2 ddp=bucketed"));
    assert_false(
            gathers_tokens("arch=gpt d_model=9 heads=3 seq_len=4 batch=1 vocab=900 "
                           "ranks=2 ddp=bucketed precision=bf16"));
    assert_true(gathers_tokens("arch=gpt d_model=9 heads=3 seq_len=4 batch=2 vocab=900 "
                               "ranks=2 ddp=bucketed precision=bf16"));
    assert_false(
            gathers_tokens("arch=gpt d_model=9 heads=3 seq_len=3 batch=2 vocab=900 "
                           "ranks=2 ddp=bucketed"));
}

/* How many reductions stand in front of an attention, and how many apart from one. */
static void count_beside_attention(const char *words, int *beside, int *apart) {
    struct built b;
    build(&b, words, 2);
    const struct program *p = &b.program;
    int last = -1;
    for (int i = 0; i < p->op_count; i++) {
        last = p->ops[i].kind == OP_ATTENTION_BACKWARD ? i : last;
    }
    *beside = *apart = 0;
    for (int i = 0; i < last; i++) {
        enum op_kind next = p->ops[i + 1].kind;
        if (p->ops[i].kind == OP_ALL_REDUCE && next != OP_ALL_REDUCE) {
            *(next == OP_ATTENTION_BACKWARD ? beside : apart) += 1;
        }
    }
    finish(&b);
}

static void reductions_wait_for_attention_that_hides_them(void **state) {
    (void)state;
    int beside, apart;
    // 5 · 6 · 4 · 32 · T · (T + 1) operations and 67,200 gradients of 4 bytes: a
    // thousand a byte from T = 265 on.
    const char *words = "arch=llama layers=6 d_model=32 heads=2 seq_len=272 batch=4 "
                        "ranks=2 ddp=bucketed bucket_mb=0.02";
    count_beside_attention(words, &beside, &apart);
    assert_true(beside >= 5 && apart == 0);
    words = "arch=llama layers=6 d_model=32 heads=2 seq_len=256 batch=4 ranks=2 "
            "ddp=bucketed bucket_mb=0.02";
    count_beside_attention(words, &beside, &apart);
    assert_true(apart >= 5);
}

/* The most and all elements that all-reduces in front of one attention sum. */
static void measure_slots(const char *words, int64_t *most, int64_t *all) {
    struct built b;
    build(&b, words, 2);
    int64_t slot = 0;
    *most = *all = 0;
    for (int i = 0; i < b.program.op_count; i++) {
        const struct op *op = &b.program.ops[i];
        slot += op->kind == OP_ALL_REDUCE ? op->to - op->from : 0;
        *all += op->kind == OP_ALL_REDUCE ? op->to - op->from : 0;
        if (op->kind == OP_ATTENTION_BACKWARD) {
            *most = slot > *most ? slot : *most;
            slot = 0;
        }
    }
    finish(&b);
}

static void attentions_share_the_sums_out(void **state) {
    (void)state;
    // The tied table alone is as large as six blocks.
    const char *words = "arch=gpt layers=6 d_model=32 heads=2 vocab=2400 seq_len=512 "
                        "batch=4 ranks=2 ddp=bucketed bucket_mb=0.02";
    int64_t most, all;
    measure_slots(words, &most, &all);
    assert_true(most > all / 6 - PARAMETER_ALIGN && most <= all / 6);
    measure_slots("arch=gpt layers=6 d_model=32 heads=2 vocab=2400 seq_len=512 batch=4 "
                  "ranks=2 ddp=bucketed bucket_mb=0.15",
            &most, &all);
    int64_t bucket = (int64_t)(0.15 * 1048576 / 4);
    assert_true(most > bucket - PARAMETER_ALIGN && most <= bucket);
}

static void adamw_covers_the_arena_once(void **state) {
    (void)state;
    struct built b;
    build(&b, "arch=gpt weight_decay=0.1", 1);
    int64_t covered = 0;
    for (int i = 0; i < b.program.op_count; i++) {
        const struct op *op = &b.program.ops[i];
        if (op->kind == OP_ADAMW) {
            const struct program_tensor *t = &b.program.tensors[op->operands.id[0]];
            assert_int_equal(t->offset, covered * 4);
            covered += t->tensor.size[0];
        }
    }
    assert_int_equal(covered, b.parameters.elements);
    finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(reading_before_writing_is_refused),
            cmocka_unit_test(an_op_after_a_later_phase_is_refused),
            cmocka_unit_test(lifetimes_span_first_to_last_use),
            cmocka_unit_test(every_gradient_is_written),
            cmocka_unit_test(checkpointing_runs_each_block_twice),
            cmocka_unit_test(wrappers_reduce_every_element_once_after_it_is_ready),
            cmocka_unit_test(sharded_weights_are_gathered_before_they_are_used),
            cmocka_unit_test(shards_of_all_ranks_cover_the_arena_once),
            cmocka_unit_test(buckets_are_queued_while_backward_still_runs),
            cmocka_unit_test(embedded_rows_travel_beside_the_last_product),
            cmocka_unit_test(the_norm_is_of_whole_gradients),
            cmocka_unit_test(ops_of_the_tail_are_timed_as_what_they_are),
            cmocka_unit_test(only_whole_16_bytes_are_gathered),
            cmocka_unit_test(reductions_wait_for_attention_that_hides_them),
            cmocka_unit_test(attentions_share_the_sums_out),
            cmocka_unit_test(adamw_covers_the_arena_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
