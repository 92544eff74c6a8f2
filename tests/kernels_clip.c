/* The control block over steps, as the references and the CPU's table write it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"

struct step {
    const struct kernels *k;
    struct stream *stream;
    struct kernel_error err;
    float control[CONTROL_COUNT], partials[2];
    struct tensor control_tensor, partials_tensor;
};

static void step_open(struct step *s, const struct kernels *k) {
    struct stream_options options = {.threads = 1};
    *s = (struct step){.k = k};
    s->control[CONTROL_LOSS_SCALE] = 8;
    s->control_tensor = (struct tensor){s->control, DTYPE_F32, 1, {CONTROL_COUNT}};
    s->partials_tensor = (struct tensor){s->partials, DTYPE_F32, 1, {2}};
    assert_true(k->stream_create(&options, &s->stream, &s->err));
}

// A gradient whose squares sum to a + b, under options.
static void step_clip(struct step *s, float a, float b, float clip, bool dynamic) {
    struct clip_options options = {clip, dynamic, 2};
    s->partials[0] = a;
    s->partials[1] = b;
    assert_true(s->k->clip(
            s->stream, &s->control_tensor, &s->partials_tensor, &options, &s->err));
}

static void check_near(float got, double want) {
    assert_true(fabs(got - want) <= 1e-6 * fabs(want));
}

static void check_table(const struct kernels *k) {
    struct step s;
    step_open(&s, k);
    // √(400 + 1200) ÷ 8 = 5, cut to 1.
    step_clip(&s, 400, 1200, 1, false);
    check_near(s.control[CONTROL_GRAD_NORM], 5);
    check_near(s.control[CONTROL_GRAD_FACTOR], 0.2 / 8);
    assert_true(s.control[CONTROL_UPDATES] == 1 && s.control[CONTROL_OVERFLOW] == 0);
    // Under the limit, and without one, only the loss scale is undone.
    step_clip(&s, 400, 1200, 6, false);
    check_near(s.control[CONTROL_GRAD_FACTOR], 1.0 / 8);
    step_clip(&s, 400, 1200, 0, false);
    check_near(s.control[CONTROL_GRAD_FACTOR], 1.0 / 8);
    assert_true(s.control[CONTROL_LOSS_SCALE] == 8); // not dynamic
    assert_true(s.control[CONTROL_UPDATES] == 3 && s.control[CONTROL_SKIPPED] == 0);
    k->stream_destroy(s.stream);
}

static void gradients_over_the_limit_are_cut_to_it(void **state) {
    (void)state;
    check_table(kernels_reference());
    check_table(kernels_reference64());
    check_table(kernels_cpu());
}

static void overflow_skips_the_update_and_halves_the_scale(void **state) {
    (void)state;
    const float bad[] = {INFINITY, NAN};
    for (int i = 0; i < 2; i++) {
        struct step s;
        step_open(&s, kernels_cpu());
        step_clip(&s, 1, bad[i], 1, true);
        assert_true(s.control[CONTROL_OVERFLOW] == 1);
        assert_true(s.control[CONTROL_GRAD_FACTOR] == 0);
        assert_true(s.control[CONTROL_LOSS_SCALE] == 4);
        assert_true(s.control[CONTROL_UPDATES] == 0 && s.control[CONTROL_SKIPPED] == 1);
        step_clip(&s, 1, 1, 1, true);
        assert_true(s.control[CONTROL_OVERFLOW] == 0);
        assert_true(s.control[CONTROL_LOSS_SCALE] == 4);
        assert_true(s.control[CONTROL_UPDATES] == 1 && s.control[CONTROL_SKIPPED] == 1);
        s.k->stream_destroy(s.stream);
    }
}

static void good_steps_double_the_scale_within_its_bounds(void **state) {
    (void)state;
    struct step s;
    step_open(&s, kernels_cpu());
    step_clip(&s, 1, 1, 1, true);
    assert_true(s.control[CONTROL_LOSS_SCALE] == 8);
    step_clip(&s, 1, 1, 1, true); // the second of growth_steps
    assert_true(s.control[CONTROL_LOSS_SCALE] == 16);
    assert_true(s.control[CONTROL_GOOD_STEPS] == 0);
    // The factor of this step undoes the scale that its gradient carries.
    check_near(s.control[CONTROL_GRAD_FACTOR], 1.0 / 8);
    for (int i = 0; i < 100; i++) {
        step_clip(&s, 1, 1, 1, true);
    }
    assert_true(s.control[CONTROL_LOSS_SCALE] == (float)LOSS_SCALE_MAX);
    for (int i = 0; i < 100; i++) {
        step_clip(&s, 1, NAN, 1, true);
    }
    assert_true(s.control[CONTROL_LOSS_SCALE] == (float)LOSS_SCALE_MIN);
    s.k->stream_destroy(s.stream);
}

static void a_skipped_update_changes_nothing(void **state) {
    (void)state;
    struct step s;
    float w[3] = {1, 2, 3}, m[3] = {4, 5, 6}, v[3] = {7, 8, 9}, g[3] = {NAN, 1, 1};
    float before[9];
    struct tensor weights = {w, DTYPE_F32, 1, {3}}, first = {m, DTYPE_F32, 1, {3}};
    struct tensor second = {v, DTYPE_F32, 1, {3}}, grads = {g, DTYPE_F32, 1, {3}};
    struct adamw_options options = {0.9f, 0.99f, 1e-8f, 0.1f};
    step_open(&s, kernels_cpu());
    step_clip(&s, 1, NAN, 1, false);
    s.control[CONTROL_LR] = 1;
    memcpy(before, w, sizeof(w));
    memcpy(before + 3, m, sizeof(m));
    memcpy(before + 6, v, sizeof(v));
    assert_true(s.k->adamw(s.stream, &weights, &weights, &first, &second, &grads, NULL,
            NULL, &s.control_tensor, &options, &s.err));
    assert_memory_equal(before, w, sizeof(w));
    assert_memory_equal(before + 3, m, sizeof(m));
    assert_memory_equal(before + 6, v, sizeof(v));
    s.k->stream_destroy(s.stream);
}

static void one_bad_gradient_makes_its_partial_bad(void **state) {
    (void)state;
    static float g[NORM_CHUNK + 3];
    const float bad[] = {INFINITY, -INFINITY, NAN};
    struct tensor grads = {g, DTYPE_F32, 1, {NORM_CHUNK + 3}};
    for (int i = 0; i < 3; i++) {
        struct step s;
        step_open(&s, kernels_cpu());
        memset(g, 0, sizeof(g));
        g[NORM_CHUNK + 1] = bad[i];
        assert_true(
                s.k->norm_partials(s.stream, &s.partials_tensor, &grads, NULL, &s.err));
        assert_true(s.partials[0] == 0 && !isfinite(s.partials[1]));
        s.k->stream_destroy(s.stream);
    }
}

static void losses_add_up_over_micro_steps(void **state) {
    (void)state;
    struct step s;
    float losses[4] = {1, 2, 3, 4}, correct[4] = {1, 0, 0, 1};
    struct tensor loss = {losses, DTYPE_F32, 1, {4}},
                  hit = {correct, DTYPE_F32, 1, {4}};
    step_open(&s, kernels_cpu());
    s.control[CONTROL_LOSS] = s.control[CONTROL_ACCURACY] = NAN; // of the last step
    for (int i = 0; i < 2; i++) {
        assert_true(s.k->loss_sum(
                s.stream, &s.control_tensor, &loss, &hit, 0.125f, i > 0, &s.err));
    }
    check_near(s.control[CONTROL_LOSS], 2.5);
    check_near(s.control[CONTROL_ACCURACY], 0.5);
    s.k->stream_destroy(s.stream);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(gradients_over_the_limit_are_cut_to_it),
            cmocka_unit_test(overflow_skips_the_update_and_halves_the_scale),
            cmocka_unit_test(good_steps_double_the_scale_within_its_bounds),
            cmocka_unit_test(a_skipped_update_changes_nothing),
            cmocka_unit_test(one_bad_gradient_makes_its_partial_bad),
            cmocka_unit_test(losses_add_up_over_micro_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
