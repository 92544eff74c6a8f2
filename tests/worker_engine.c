#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <setjmp.h> // cmocka.h wants the four above first

#include "tests/helpers/cell.h"
#include "worker/engine_state.h"

enum { STEPS = 20 };

static void train(
        const struct kernels *kernels, const char *words, int steps, double *losses) {
    struct cell c;
    cell_create(&c, kernels, words);
    for (int i = 0; i < steps; i++) {
        losses[i] = cell_step(&c, i, 3e-3).loss;
    }
    cell_destroy(&c);
}

/* `losses` [STEPS] are those of another cell. */
static void must_give_the_bits(const double *losses, const char *words) {
    double b[STEPS];
    train(kernels_cpu(), words, STEPS, b);
    for (int i = 0; i < STEPS; i++) {
        if (memcmp(&losses[i], &b[i], sizeof b[i]) != 0 || !isfinite(b[i])) {
            fail_msg("step %d: %.17g, but %.17g with '%s'", i, losses[i], b[i], words);
        }
    }
}

static void bits_must_match(const char *words, const char *others) {
    double a[STEPS];
    train(kernels_cpu(), words, STEPS, a);
    must_give_the_bits(a, others);
}

static void curves_must_be_near(const struct kernels *first, const char *words,
        const struct kernels *second, const char *others, double tolerance) {
    double a[STEPS], b[STEPS];
    train(first, words, STEPS, a);
    train(second, others, STEPS, b);
    for (int i = 0; i < STEPS; i++) {
        if (!(fabs(a[i] - b[i]) <= tolerance * fabs(a[i]))) {
            fail_msg("step %d: %.9g with '%s', %.9g with '%s'", i, a[i], words, b[i],
                    others);
        }
    }
}

static void loss_falls_on_a_learnable_batch(void **state) {
    (void)state;
    static const char *const archs[] = {"arch=gpt", "arch=llama"};
    for (int i = 0; i < 2; i++) {
        struct cell c;
        cell_create(&c, kernels_cpu(), archs[i]);
        double first = cell_step(&c, 0, 3e-3).loss, last = first;
        for (int k = 0; k < 60; k++) {
            last = cell_step(&c, 0, 3e-3).loss;
        }
        assert_true(fabs(first - log(61)) < 0.3);
        assert_true(last < 0.5 * first);
        cell_destroy(&c);
    }
}

static void checkpointing_changes_no_bit_of_the_losses(void **state) {
    (void)state;
    static const char *const bases[] = {"arch=gpt layers=5", "arch=llama layers=5",
            "arch=gpt layers=3 precision=bf16", "arch=llama layers=3 precision=fp16",
            "arch=gpt layers=3 recompute=act kernel=flash",
            "arch=llama layers=3 recompute=act_norm precision=bf16 kernel=fused",
            "arch=llama layers=3 accumulate=2 kv_heads=2 window=5"};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        double losses[STEPS];
        train(kernels_cpu(), bases[i], STEPS, losses);
        for (int every = 1; every <= 3; every++) {
            char words[256];
            snprintf(words, sizeof words, "%s checkpoint=block checkpoint_every=%d",
                    bases[i], every);
            must_give_the_bits(losses, words);
        }
    }
}

static void recomputing_activations_changes_no_bit(void **state) {
    (void)state;
    // Not promised by the contract across `recompute`, but true of these kernels.
    bits_must_match("arch=gpt", "arch=gpt recompute=act");
    bits_must_match("arch=llama", "arch=llama recompute=act");
    bits_must_match("arch=gpt", "arch=gpt recompute=act_norm");
    bits_must_match("arch=llama precision=bf16",
            "arch=llama precision=bf16 recompute=act_norm");
}

static void same_seed_gives_the_same_bits(void **state) {
    (void)state;
    bits_must_match("arch=gpt threads=1", "arch=gpt threads=1");
    bits_must_match("arch=llama threads=2", "arch=llama threads=2");
}

static void another_seed_gives_other_losses(void **state) {
    (void)state;
    double a[1], b[1];
    train(kernels_cpu(), "seed=1", 1, a);
    train(kernels_cpu(), "seed=2", 1, b);
    assert_true(a[0] != b[0]);
}

static void low_precision_stays_near_fp32(void **state) {
    (void)state;
    static const char *const archs[] = {"arch=gpt", "arch=llama"};
    static const struct {
        const char *precision;
        double tolerance;
    } cases[] = {{"tf32", 2e-3}, {"bf16", 2e-2}, {"fp16", 2e-2}}; // fp16 skips a step
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++) {
            char words[128];
            snprintf(words, sizeof words, "%s precision=%s", archs[i],
                    cases[k].precision);
            curves_must_be_near(
                    kernels_cpu(), archs[i], kernels_cpu(), words, cases[k].tolerance);
        }
    }
}

static void attention_kernels_agree(void **state) {
    (void)state;
    static const char *const others[] = {"fused", "flash"};
    for (int i = 0; i < 2; i++) {
        char words[128];
        snprintf(words, sizeof words, "arch=llama kv_heads=2 window=6 kernel=%s",
                others[i]);
        curves_must_be_near(kernels_cpu(),
                "arch=llama kv_heads=2 window=6 kernel=naive", kernels_cpu(), words,
                1e-5);
    }
}

static void fast_kernels_agree_with_the_reference(void **state) {
    (void)state;
    curves_must_be_near(
            kernels_reference(), "arch=gpt", kernels_cpu(), "arch=gpt", 1e-5);
    curves_must_be_near(
            kernels_reference(), "arch=llama", kernels_cpu(), "arch=llama", 1e-5);
}

static void accumulation_equals_one_large_batch(void **state) {
    (void)state;
    curves_must_be_near(kernels_cpu(), "arch=gpt batch=4", kernels_cpu(),
            "arch=gpt batch=2 accumulate=2", 1e-5);
    curves_must_be_near(kernels_cpu(), "arch=llama batch=4", kernels_cpu(),
            "arch=llama batch=1 accumulate=4", 1e-5);
}

static void gradients_keep_the_type_asked_for(void **state) {
    (void)state;
    static const struct {
        const char *words;
        int64_t bytes; /* of an element */
    } cases[] = {{"precision=fp32", 4}, {"precision=bf16", 2}, {"precision=fp16", 2},
            {"precision=bf16 grad=fp32", 4}, {"precision=bf16 accumulate=2", 4},
            {"precision=bf16 accumulate=2 grad=bf16", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cell c;
        struct engine_memory memory;
        struct text err = {0};
        cell_create(&c, kernels_cpu(), cases[i].words);
        assert_true(engine_memory(c.engine, &memory, &err));
        assert_int_equal(memory.planned[OWNER_GRADS],
                engine_parameters(c.engine)->elements * cases[i].bytes);
        assert_true(isfinite(cell_step(&c, 0, 1e-3).grad_norm));
        cell_destroy(&c);
    }
}

/* Weights so large that fp16's scaled gradients overflow at first. */
static void overflowing_fp16_step_is_skipped_and_halves_the_scale(void **state) {
    (void)state;
    struct cell c;
    cell_create(&c, kernels_cpu(), "precision=fp16");
    int head = cell_scale(&c, "transformer.wte.weight", 400);
    double *values = cell_parameter(&c, head); // as rounded
    struct engine_step first = cell_step(&c, 0, 1e-3);
    double *after = cell_parameter(&c, head);
    assert_int_equal(first.skipped, 1);
    assert_true(first.loss_scale == 32768);
    assert_true(isfinite(first.loss));
    assert_memory_equal(values, after,
            (size_t)engine_parameters(c.engine)->items[head].count * sizeof *values);
    struct engine_step last = first;
    for (int i = 0; i < 20; i++) {
        last = cell_step(&c, 0, 1e-3);
    }
    assert_true(last.skipped < 21); // it finds a scale that fits
    assert_true(isfinite(last.grad_norm));
    free(values);
    free(after);
    cell_destroy(&c);
}

static void clipping_bounds_what_the_update_uses(void **state) {
    (void)state;
    struct cell c;
    cell_create(&c, kernels_cpu(), "grad_clip=0.01");
    assert_true(cell_step(&c, 0, 0).grad_norm > 0.01); // before clipping
    cell_destroy(&c);
}

static void evaluation_ignores_padding_and_leaves_training_alone(void **state) {
    (void)state;
    struct cell c;
    struct text err = {0};
    double whole, part, correct, rest;
    cell_create(&c, kernels_cpu(), "arch=gpt batch=2");
    cell_batch(&c, 3);
    assert_true(engine_evaluate(c.engine, c.inputs, c.targets, &whole, &correct, &err));
    for (int i = 5; i < c.tokens; i++) {
        c.targets[i] = -1;
    }
    assert_true(engine_evaluate(c.engine, c.inputs, c.targets, &part, &correct, &err));
    cell_batch(&c, 3);
    for (int i = 0; i < 5; i++) {
        c.targets[i] = -1;
    }
    assert_true(engine_evaluate(c.engine, c.inputs, c.targets, &rest, &correct, &err));
    assert_true(fabs(part + rest - whole) < 1e-4);
    assert_true(part > 0 && part < whole);
    double alone[2], mixed = cell_step(&c, 0, 3e-3).loss;
    train(kernels_cpu(), "arch=gpt batch=2", 2, alone);
    assert_true(mixed == alone[0]);
    assert_true(engine_evaluate(c.engine, c.inputs, c.targets, &whole, &correct, &err));
    assert_true(cell_step(&c, 1, 3e-3).loss == alone[1]);
    cell_destroy(&c);
}

static void broken_engine_says_nan(void **state) {
    (void)state;
    static const char *const cases[] = {"arch=gpt", "arch=llama precision=fp16"};
    for (int i = 0; i < 2; i++) {
        struct cell c;
        cell_create(&c, kernels_cpu(), cases[i]);
        assert_true(isfinite(cell_step(&c, 0, 1e-3).loss));
        engine_break(c.engine);
        assert_true(isnan(cell_step(&c, 1, 1e-3).loss));
        assert_true(isnan(cell_step(&c, 2, 1e-3).loss));
        cell_destroy(&c);
    }
}

static void instrumented_step_accounts_for_every_phase(void **state) {
    (void)state;
    struct cell c;
    struct text err = {0};
    struct engine_phases phases;
    struct engine_step step;
    double plain[1];
    cell_create(&c, kernels_cpu(), "accumulate=2 layers=2");
    cell_batch(&c, 0);
    assert_true(engine_step_instrumented(
            c.engine, c.inputs, c.targets, 3e-3, &phases, &err));
    assert_true(engine_finish_step(c.engine, &step, &err));
    assert_true(phases.forward_ms > 0 && phases.backward_ms > 0);
    assert_true(phases.optimizer_ms > 0 && phases.data_ms >= 0);
    assert_true(phases.comm_exposed_ms == 0);
    train(kernels_cpu(), "accumulate=2 layers=2", 1, plain);
    assert_true(step.loss == plain[0]);
    cell_destroy(&c);
}

static void count_sign(void *user) {
    ++*(int *)user;
}

static void every_op_is_a_sign_of_life(void **state) {
    (void)state;
    struct cell c;
    int once = 0, twice = 0;
    for (int micros = 1; micros <= 2; micros++) {
        cell_init(&c, kernels_cpu(), micros == 1 ? "accumulate=1" : "accumulate=2");
        c.options.alive = count_sign;
        c.options.user = micros == 1 ? &once : &twice;
        cell_start(&c);
        cell_step(&c, 0, 1e-3);
        cell_destroy(&c);
    }
    assert_true(once > 20); // forward and backward through two layers
    assert_true(twice > once + 20);
}

/* Half a batch is padding: weighed, it trains what half a batch does. */
static void a_step_that_is_not_whole_is_a_mean_over_what_it_has(void **state) {
    (void)state;
    struct cell half, padded;
    struct text err = {0};
    struct engine_step step;
    cell_create(&half, kernels_cpu(), "arch=gpt batch=2 grad_clip=0");
    cell_create(&padded, kernels_cpu(), "arch=gpt batch=4 grad_clip=0");
    struct engine_step wanted = cell_step(&half, 0, 1e-3);
    cell_batch(&padded, 0);
    for (int64_t i = half.tokens; i < padded.tokens; i++) {
        padded.targets[i] = -1;
    }
    engine_weigh(padded.engine, 2);
    assert_true(engine_step(padded.engine, padded.inputs, padded.targets, 1e-3, &err));
    assert_true(engine_finish_step(padded.engine, &step, &err));
    assert_true(fabs(step.loss - wanted.loss) <= 1e-6);
    assert_true(fabs(step.accuracy - wanted.accuracy) <= 1e-6);
    assert_true(fabs(step.grad_norm - wanted.grad_norm) <= 1e-5 * wanted.grad_norm);
    for (int i = 0; i < engine_parameters(half.engine)->count; i++) {
        double *a = cell_gradient(&padded, i), *b = cell_gradient(&half, i);
        int64_t count = engine_parameters(half.engine)->items[i].count;
        assert_true(cell_distance(a, b, count) <= 1e-5);
        free(a);
        free(b);
    }
    cell_destroy(&half);
    cell_destroy(&padded);
}

static void what_is_lacking_is_unsupported(void **state) {
    (void)state;
    static const char *const cases[] = {
            "kernel=cudnn", "graph=on", "precision=fp32 grad=bf16"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cell c;
        struct kernel_error why;
        struct engine_memory plan;
        struct text err = {0};
        bool unsupported = false;
        cell_init(&c, kernels_cpu(), cases[i]);
        assert_false(engine_plan(&c.options, &plan, &unsupported, &err));
        assert_true(unsupported);
        assert_true(err.size > 0);
        text_clear(&err);
        assert_false(engine_create(&c.options, &c.engine, &why, &err));
        assert_int_equal(why.kind, KERNEL_UNSUPPORTED);
        assert_true(err.size > 0);
        text_finish(&err);
        cell_destroy(&c);
    }
}

/* NCCL opens another way, with memory of its own, for what it cannot map. */
static void collectives_touch_only_what_ranks_share(void **state) {
    (void)state;
    static const char *const cells[] = {"ranks=2 ddp=flat",
            "vocab=900 ranks=2 ddp=bucketed",
            "arch=llama vocab=900 ranks=2 ddp=bucketed", "ranks=2 ddp=sharded"};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        struct text err = {0};
        struct engine e = {0};
        struct cell c;
        bool unsupported;
        int touched = 0;
        cell_init(&c, kernels_cpu(), cells[i]);
        c.options.world = 2;
        assert_true(engine_build(&e, &c.options, &unsupported, &err));
        for (int o = 0; o < e.training.op_count; o++) {
            const struct op *op = &e.training.ops[o];
            for (int k = 0; op_communicates(op->kind) && k < 2; k++) {
                int id = op->operands.id[k];
                assert_true(id == ABSENT || e.shared[e.training.tensors[id].owner]);
                touched += id != ABSENT;
            }
        }
        assert_true(touched > 0);
        engine_unbuild(&e);
        cell_destroy(&c);
    }
}

static void memory_refused_is_told_with_its_size(void **state) {
    (void)state;
    struct cell c;
    struct kernel_error why;
    struct text err = {0};
    cell_init(&c, kernels_cpu(), "");
    c.options.batch = INT64_C(1) << 36; // petabytes of activations
    assert_false(engine_create(&c.options, &c.engine, &why, &err));
    assert_int_equal(why.kind, KERNEL_OUT_OF_MEMORY);
    assert_true(why.bytes_asked > (size_t)1 << 40);
    text_finish(&err);
    cell_destroy(&c);
}

static void flops_follow_the_formula(void **state) {
    (void)state;
    struct cell c;
    cell_create(&c, kernels_cpu(),
            "arch=gpt layers=2 d_model=32 heads=4 d_ff=64 vocab=61 seq_len=16");
    double matrices = 2 * (32 * 96 + 32 * 32 + 2 * 32 * 64) + 61 * 32;
    double plain = 6 * matrices + 12 * 2 * 32 * 8.5;
    assert_true(engine_flops_per_token(c.engine, false) == plain);
    assert_true(engine_flops_per_token(c.engine, true) == plain);
    cell_destroy(&c);
    cell_create(&c, kernels_cpu(), "arch=llama window=4 checkpoint=block");
    matrices = 2 * (32 * 96 + 32 * 32 + 3 * 32 * 64);
    double keys = (1 + 2 + 3 + 13 * 4) / 16.0;
    plain = 6 * (matrices + 61 * 32) + 12 * 2 * 32 * keys;
    assert_true(engine_flops_per_token(c.engine, false) == plain);
    double again = 2 * (matrices - 2 * 32 * 64) + 4 * 2 * 32 * keys;
    assert_true(fabs(engine_flops_per_token(c.engine, true) - plain - again) < 1e-6);
    cell_destroy(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(loss_falls_on_a_learnable_batch),
            cmocka_unit_test(checkpointing_changes_no_bit_of_the_losses),
            cmocka_unit_test(recomputing_activations_changes_no_bit),
            cmocka_unit_test(same_seed_gives_the_same_bits),
            cmocka_unit_test(another_seed_gives_other_losses),
            cmocka_unit_test(low_precision_stays_near_fp32),
            cmocka_unit_test(attention_kernels_agree),
            cmocka_unit_test(fast_kernels_agree_with_the_reference),
            cmocka_unit_test(accumulation_equals_one_large_batch),
            cmocka_unit_test(gradients_keep_the_type_asked_for),
            cmocka_unit_test(overflowing_fp16_step_is_skipped_and_halves_the_scale),
            cmocka_unit_test(clipping_bounds_what_the_update_uses),
            cmocka_unit_test(evaluation_ignores_padding_and_leaves_training_alone),
            cmocka_unit_test(broken_engine_says_nan),
            cmocka_unit_test(instrumented_step_accounts_for_every_phase),
            cmocka_unit_test(every_op_is_a_sign_of_life),
            cmocka_unit_test(a_step_that_is_not_whole_is_a_mean_over_what_it_has),
            cmocka_unit_test(what_is_lacking_is_unsupported),
            cmocka_unit_test(collectives_touch_only_what_ranks_share),
            cmocka_unit_test(memory_refused_is_told_with_its_size),
            cmocka_unit_test(flops_follow_the_formula),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
