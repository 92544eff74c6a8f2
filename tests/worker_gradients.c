/*
 * Every parameter's gradient against central finite differences, in double precision.
 * A wrong term, a missing one or one counted twice shows here.
 */
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

#define STEP 2e-6
#define TOLERANCE 1e-7 /* relative; differences err by about STEP² and 1e-16 ÷ STEP */
#define SAMPLES 6      /* elements of each parameter */

/* Mean loss over all micro-batches of batch 0, forward only. */
static double loss_of(struct cell *c) {
    struct text err = {0};
    int64_t micros = params_integer(&c->params, PARAM_ACCUMULATE);
    int64_t tokens = c->tokens / micros;
    double sum = 0;
    cell_batch(c, 0);
    for (int64_t m = 0; m < micros; m++) {
        double loss, correct;
        assert_true(engine_evaluate(c->engine, c->inputs + m * tokens,
                c->targets + m * tokens, &loss, &correct, &err));
        sum += loss;
    }
    return sum / (double)c->tokens;
}

static double difference(struct cell *c, int index, double *values, int64_t at) {
    struct text err = {0};
    double kept = values[at], up, down;
    values[at] = kept + STEP;
    assert_true(engine_write_parameter(c->engine, index, values, &err));
    up = loss_of(c);
    values[at] = kept - STEP;
    assert_true(engine_write_parameter(c->engine, index, values, &err));
    down = loss_of(c);
    values[at] = kept;
    assert_true(engine_write_parameter(c->engine, index, values, &err));
    return (up - down) / (2 * STEP);
}

static void check_parameter(struct cell *c, int index) {
    const struct parameter *p = &engine_parameters(c->engine)->items[index];
    double *gradient = cell_gradient(c, index), *values = cell_parameter(c, index);
    double largest = 0;
    for (int64_t i = 0; i < p->count; i++) {
        largest = fmax(largest, fabs(gradient[i]));
    }
    for (int64_t k = 0; k < SAMPLES; k++) {
        int64_t at = (k * 7919 + 13 * index) % p->count;
        double numeric = difference(c, index, values, at);
        double error = fabs(gradient[at] - numeric);
        if (!(error <= TOLERANCE * (fabs(numeric) + largest) + 1e-9)) {
            fail_msg("%s[%ld]: backward says %.12g, differences %.12g", p->name,
                    (long)at, gradient[at], numeric);
        }
    }
    free(gradient);
    free(values);
}

/*
 * Weights away from their start: at initialisation scores are near zero, biases are
 * zero, and a wrong softmax or bias gradient would hardly show.
 */
static void stir(struct cell *c) {
    struct text err = {0};
    for (int i = 0; i < engine_parameters(c->engine)->count; i++) {
        const struct parameter *p = &engine_parameters(c->engine)->items[i];
        double *values = cell_parameter(c, i);
        for (int64_t k = 0; k < p->count; k++) {
            values[k] = values[k] * 5 + 0.1 * sin((double)(k * 31 + i * 17));
        }
        assert_true(engine_write_parameter(c->engine, i, values, &err));
        free(values);
    }
}

static void check(const char *words) {
    struct cell c;
    cell_init(&c, kernels_reference64(), words);
    c.options.double_precision = true;
    cell_start(&c);
    stir(&c);
    struct engine_step step = cell_step(&c, 0, 0);
    double expected = loss_of(&c);
    if (!(fabs(step.loss - expected) <= 1e-12 * expected)) {
        fail_msg(
                "training's loss %.15g is not evaluation's %.15g", step.loss, expected);
    }
    for (int i = 0; i < engine_parameters(c.engine)->count; i++) {
        check_parameter(&c, i);
    }
    cell_destroy(&c);
}

// 16 tokens a batch: one over that is exact, as the loss factor is a float.
#define SMALL                                                                          \
    "d_model=16 heads=2 d_ff=24 vocab=13 seq_len=8 weight_decay=0 grad_clip=0 "

static void gpt_gradients_match_differences(void **state) {
    (void)state;
    check(SMALL "arch=gpt");
}

static void llama_gradients_match_differences(void **state) {
    (void)state;
    check(SMALL "arch=llama");
}

static void grouped_heads_under_a_window_match_differences(void **state) {
    (void)state;
    check(SMALL "arch=llama heads=2 kv_heads=1 window=3");
    check(SMALL "arch=gpt heads=2 kv_heads=1 window=3");
}

static void checkpointed_gradients_match_differences(void **state) {
    (void)state;
    check(SMALL "arch=gpt layers=3 checkpoint=block checkpoint_every=2 "
                "recompute=act_norm");
    check(SMALL "arch=llama layers=3 checkpoint=block checkpoint_every=2 "
                "recompute=act");
}

static void accumulated_gradients_match_differences(void **state) {
    (void)state;
    check(SMALL "arch=gpt accumulate=4 recompute=act_norm");
    check(SMALL "arch=llama accumulate=4 checkpoint=block checkpoint_every=1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(gpt_gradients_match_differences),
            cmocka_unit_test(llama_gradients_match_differences),
            cmocka_unit_test(grouped_heads_under_a_window_match_differences),
            cmocka_unit_test(checkpointed_gradients_match_differences),
            cmocka_unit_test(accumulated_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
