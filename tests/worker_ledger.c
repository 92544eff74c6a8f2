/* What the ops of a step move and compute, counted from the program and timed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/event.h"
#include "tests/helpers/cell.h"
#include "worker/engine_state.h"
#include "worker/ledger.h"

static void take_step(struct cell *c, struct ledger *l, struct engine_step *out) {
    struct text err = {0};
    cell_batch(c, 0);
    if (!engine_step_ops(c->engine, c->inputs, c->targets, 3e-3, l, &err) ||
            !engine_finish_step(c->engine, out, &err)) {
        fail_msg("%s", text_get(&err));
    }
}

/* The ledger of one step of a cell. */
static void count(struct ledger *l, const char *words) {
    struct cell c;
    struct engine_step unused;
    *l = (struct ledger){0};
    cell_create(&c, kernels_cpu(), words);
    take_step(&c, l, &unused);
    cell_destroy(&c);
}

static const struct ledger_row *find(
        const struct ledger *l, enum op_kind kind, const char *what) {
    for (int i = 0; i < l->count; i++) {
        if (l->rows[i].kind == kind && strcmp(l->rows[i].what, what) == 0) {
            return &l->rows[i];
        }
    }
    fail_msg("no row '%s %s'", op_name(kind), what);
    return NULL;
}

static void must_be(const struct ledger *l, enum op_kind kind, const char *what,
        int64_t calls, double bytes, double flops) {
    const struct ledger_row *row = find(l, kind, what);
    if (row->calls != calls || row->bytes != bytes || row->flops != flops) {
        fail_msg("'%s %s': %lld calls, %g bytes, %g flops", op_name(kind), what,
                (long long)row->calls, row->bytes, row->flops);
    }
}

static void products_and_what_they_move_are_counted(void **state) {
    (void)state;
    struct ledger l;
    // 32 rows of 2 × 16 tokens, 32 channels, 61 words, padded to no more on the CPU.
    count(&l, "arch=gpt layers=2 d_ff=64");
    must_be(&l, OP_MATMUL_FORWARD, "hidden", 2,
            2 * 4.0 * (32 * 64 + 32 * 32 + 64 * 32 + 64), 2 * 2.0 * 32 * 64 * 32);
    must_be(&l, OP_MATMUL_BACKWARD_INPUT, "dactive", 2,
            2 * 4.0 * (32 * 64 + 32 * 32 + 32 * 64), 2 * 2.0 * 32 * 32 * 64);
    must_be(&l, OP_MATMUL_BACKWARD_WEIGHT, "mlp.c_fc.weight", 2,
            2 * 4.0 * (64 * 32 + 64 + 32 * 64 + 32 * 32), 2 * 2.0 * 32 * 64 * 32);
    must_be(&l, OP_GELU_FORWARD, "active", 2, 2 * 4.0 * 2 * 32 * 64, 0);
    must_be(&l, OP_CLIP, "control", 1, 4.0 * (2 * CONTROL_COUNT + 1), 0);
    ledger_finish(&l);
}

static void gradients_are_read_only_where_they_are_added_to(void **state) {
    (void)state;
    struct ledger once, twice;
    count(&once, "arch=gpt layers=2 d_ff=64");
    count(&twice, "arch=gpt layers=2 d_ff=64 accumulate=2");
    const char *what = "mlp.c_fc.weight";
    double one = find(&once, OP_MATMUL_BACKWARD_WEIGHT, what)->bytes;
    must_be(&twice, OP_MATMUL_BACKWARD_WEIGHT, what, 4,
            2 * one + 2 * 4.0 * (64 * 32 + 64), 4 * 2.0 * 32 * 64 * 32);
    must_be(&twice, OP_CLIP, "control", 1, find(&once, OP_CLIP, "control")->bytes, 0);
    ledger_finish(&once);
    ledger_finish(&twice);
}

static void pairs_that_do_not_see_each_other_are_no_work(void **state) {
    (void)state;
    struct ledger l;
    double pairs[] = {16 * 17 / 2, 1 + 2 + 3 + 13 * 4};
    const char *words[] = {"arch=llama layers=1", "arch=llama layers=1 window=4"};
    for (int i = 0; i < 2; i++) {
        count(&l, words[i]);
        double heads = 2 * 4 * 8; // batch, heads, elements of one
        assert_true(
                find(&l, OP_ATTENTION_FORWARD, "mixed")->flops == 4 * heads * pairs[i]);
        assert_true(find(&l, OP_ATTENTION_BACKWARD, "dqkv")->flops ==
                    10 * heads * pairs[i]);
        ledger_finish(&l);
    }
}

static void an_embedding_touches_no_more_rows_than_there_are_tokens(void **state) {
    (void)state;
    struct ledger l;
    count(&l, "arch=llama layers=1 vocab=5000");
    must_be(&l, OP_EMBEDDING_FORWARD, "residual", 1, 4.0 * (32 + 2 * 32 * 32), 0);
    // Its gradient is overwritten, zeros and all.
    must_be(&l, OP_EMBEDDING_BACKWARD, "model.embed_tokens.weight", 1,
            4.0 * (5000 * 32 + 32 * 32 + 32), 0);
    ledger_finish(&l);
}

/* What one of two ranks would do. */
struct half {
    struct cell cell;
    struct engine engine;
    struct ledger ledger;
};

static void half_open(struct half *h, const char *words) {
    struct text err = {0};
    bool unsupported;
    *h = (struct half){0};
    cell_init(&h->cell, kernels_cpu(), words);
    h->cell.options.world = 2;
    assert_true(engine_build(&h->engine, &h->cell.options, &unsupported, &err));
    ledger_init(&h->ledger, &h->engine.training, &h->engine.parameters,
            &h->engine.shape, 1);
}

static void half_close(struct half *h) {
    ledger_finish(&h->ledger);
    engine_unbuild(&h->engine);
    cell_destroy(&h->cell);
}

/* Two ranks' tokens, 32 each, 64 rows of 32 channels: what is handed in, and what
 * comes; of rows, a rank's own lie where they belong. */
static void what_is_gathered_counts_for_all_ranks(void **state) {
    (void)state;
    struct half h;
    half_open(&h, "arch=gpt layers=1 vocab=5000 ranks=2 ddp=bucketed");
    must_be(&h.ledger, OP_ALL_GATHER, "tokens of all ranks", 1, 4.0 * (32 + 64), 0);
    must_be(&h.ledger, OP_ALL_GATHER, "dresidual of all ranks", 1, 4.0 * 32 * 64, 0);
    // Rows in, and of either table as many in and out: its head's gradient is there.
    double positions = 2.0 * 16 * 32;
    must_be(&h.ledger, OP_EMBEDDING_BACKWARD, "transformer.wte.weight", 1,
            4.0 * (64 * 32 + 64 + 2 * 64 * 32 + positions), 0);
    half_close(&h);
}

/* Of weights and gradients a rank's own half, in one launch however many buckets. */
static void an_optimizer_that_is_spread_counts_what_is_its_own(void **state) {
    (void)state;
    struct half h;
    half_open(&h, "arch=llama d_model=256 heads=4 d_ff=512 precision=bf16 ranks=2 "
                  "ddp=sharded bucket_mb=0.5");
    assert_true(h.engine.ddp.shards.count > 2);
    double own = (double)h.engine.parameters.owned, chunks = own / NORM_CHUNK;
    // All chunks' sums, in whole 16 bytes: half are this rank's.
    double partials = 4 * ceil(2 * chunks / 4) * 4 / 2;
    must_be(&h.ledger, OP_NORM_PARTIALS, "norm_partials", 1,
            2 * own + 4 * chunks + partials, 0);
    must_be(&h.ledger, OP_ADAMW, "weights", 1,
            28 * own + own / ADAMW_BLOCK + 4 * chunks + 4.0 * CONTROL_COUNT, 0);
    half_close(&h);
}

static void the_master_that_is_the_weights_is_written_once(void **state) {
    (void)state;
    struct ledger l, low;
    count(&l, "arch=llama layers=1");
    count(&low, "arch=llama layers=1 precision=bf16 grad=fp32");
    struct cell c;
    cell_create(&c, kernels_cpu(), "arch=llama layers=1");
    double elements = (double)engine_parameters(c.engine)->elements;
    cell_destroy(&c);
    const struct ledger_row *row = find(&l, OP_ADAMW, "weights");
    double few = 4.0 * CONTROL_COUNT + elements / ADAMW_BLOCK; // control, decay flags
    assert_int_equal(row->calls, 1);
    // Master and both moments in and out, the gradient in; bf16: its copy out besides.
    assert_true(row->bytes == 7 * 4 * elements + few);
    assert_true(find(&low, OP_ADAMW, "weights")->bytes == 30 * elements + few);
    ledger_finish(&l);
    ledger_finish(&low);
}

static void operations_add_up_to_those_of_the_model(void **state) {
    (void)state;
    static const char *const words[] = {"arch=gpt vocab=64", "arch=llama kv_heads=2",
            "arch=llama checkpoint=block accumulate=2"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct ledger l;
        struct cell c;
        double found = 0, attention = 0;
        count(&l, words[i]);
        cell_create(&c, kernels_cpu(), words[i]);
        for (int k = 0; k < l.count; k++) {
            found += l.rows[k].flops;
            // The formula has 8 backward, without the scores that are made again.
            attention += l.rows[k].kind == OP_ATTENTION_BACKWARD ? l.rows[k].flops : 0;
        }
        double model = engine_flops_per_token(c.engine, true) * (double)c.tokens;
        assert_true(fabs(found - attention / 5 - model) <= 1e-9 * model);
        cell_destroy(&c);
        ledger_finish(&l);
    }
}

static void steps_under_marks_train_as_others_do(void **state) {
    (void)state;
    struct cell c, plain;
    struct ledger l = {0};
    cell_create(&c, kernels_cpu(), "accumulate=2");
    cell_create(&plain, kernels_cpu(), "accumulate=2");
    for (int i = 0; i < LEDGER_STEPS; i++) {
        struct engine_step step;
        take_step(&c, &l, &step);
        assert_true(step.loss == cell_step(&plain, 0, 3e-3).loss);
        assert_int_equal(l.steps, i + 1);
        for (int k = 0; k < l.count; k++) {
            assert_true(l.rows[k].ms[i] > 0);
        }
    }
    assert_true(l.mark_ms >= 0);
    ledger_finish(&l);
    cell_destroy(&c);
    cell_destroy(&plain);
}

static void a_row_tells_its_median(void **state) {
    (void)state;
    struct ledger l;
    count(&l, "");
    double *ms = text_allocate_zeroed((size_t)l.count, sizeof *ms);
    l.steps = 0;
    for (int i = 0; i < LEDGER_STEPS + 1; i++) {
        ms[0] = (const double[]){4, 1, 2, 9}[i];
        ledger_add_step(&l, ms);
    }
    json_t *told = ledger_to_json(&l);
    const json_t *row = json_array_get(json_object_get(told, "ops"), 0);
    assert_true(json_number_value(json_object_get(row, "ms")) == 2);
    assert_int_equal(json_integer_value(json_object_get(told, "steps")), LEDGER_STEPS);
    json_decref(told);
    free(ms);
    ledger_finish(&l);
}

static void deeper_models_have_no_more_rows(void **state) {
    (void)state;
    struct ledger two, nine;
    count(&two, "arch=gpt layers=2 checkpoint=block checkpoint_every=1");
    count(&nine, "arch=gpt layers=9 checkpoint=block checkpoint_every=1");
    assert_int_equal(two.count, nine.count);
    json_t *told = ledger_to_json(&nine);
    char *line = json_dumps(told, 0);
    // All rows there may be, each as long as the longest here, are still one event.
    assert_true(strlen(line) / (size_t)nine.count < EVENT_LINE_MAX / LEDGER_ROWS);
    free(line);
    json_decref(told);
    ledger_finish(&two);
    ledger_finish(&nine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(products_and_what_they_move_are_counted),
            cmocka_unit_test(gradients_are_read_only_where_they_are_added_to),
            cmocka_unit_test(pairs_that_do_not_see_each_other_are_no_work),
            cmocka_unit_test(an_embedding_touches_no_more_rows_than_there_are_tokens),
            cmocka_unit_test(what_is_gathered_counts_for_all_ranks),
            cmocka_unit_test(an_optimizer_that_is_spread_counts_what_is_its_own),
            cmocka_unit_test(the_master_that_is_the_weights_is_written_once),
            cmocka_unit_test(operations_add_up_to_those_of_the_model),
            cmocka_unit_test(steps_under_marks_train_as_others_do),
            cmocka_unit_test(a_row_tells_its_median),
            cmocka_unit_test(deeper_models_have_no_more_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
