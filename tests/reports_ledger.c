/* Where the time goes: the ops of a step, held against their floors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/helpers/scene.h"

// A cell's ops: one that moves 3.352 GB, 1 ms of an H100's memory, and one that
// computes as much as its tensor cores in 0.5 ms at 1 GHz.
static json_t *two_ops(void) {
    return json_pack("{s:i, s:f, s:[{s:s, s:s, s:i, s:f, s:I, s:i}, "
                     "{s:s, s:s, s:i, s:f, s:i, s:f}]}",
            "steps", 3, "mark_ms", 0.0015, "ops", "op", "adamw", "what", "weights",
            "calls", 2, "ms", 1.25, "bytes", (json_int_t)3352000000, "flops", 0, "op",
            "matmul_forward", "what", "hidden", "calls", 24, "ms", 2.0, "bytes", 1000,
            "flops", 132 * 4096e9 / 2000);
}

/* A cell on a GPU whose ceilings are known, and its ops; the caller reports. */
static struct record *open_h100(struct scene *s) {
    scene_open(s, "a");
    struct record *r = folder_ran(&s->folder, "a", "a", "precision=bf16", 100, MIB);
    folder_fact(r, "device", "NVIDIA H100 80GB HBM3");
    folder_metric(r, "sm_clock_mhz", 1000);
    r->ops = two_ops();
    return r;
}

static void ops_are_held_against_their_floors(void **state) {
    (void)state;
    struct scene s = {0};
    struct record *r = open_h100(&s);
    folder_metric(r, "step_ms_median", 3);
    scene_report(&s);
    scene_says(&s, "demo_report.md", "## Where the time goes");
    scene_says(&s, "demo_report.md",
            "The ops took 3.25 ms together; a step without instruments took 3.00 ms. "
            "Two "
            "marks with nothing between them are 1.5 \xc2\xb5s apart; each of the 26 "
            "calls has one before it, and nothing is subtracted. Floors: 3352 GB/s, "
            "540.7 TFLOP/s at the measured 1,000 MHz.");
    scene_says(&s, "demo_report.md",
            "| `matmul_forward` | `hidden` | 24 | 2.000 | 0.500 | 1.500 | 25.0 % |\n"
            "| `adamw` | `weights` | 2 | 1.250 | 1.000 | 0.250 | 80.0 % |\n"
            "| `all` |  | 26 | 3.250 | 1.500 | 1.750 | 46.2 % |\n");
    assert_int_equal(scene_check_csv(&s, "demo_ops.csv"), 2);
    scene_says(&s, "demo_ops.csv", ",adamw,weights,2,1.25,3352000000,0,1,0.25,80\n");
    scene_is_silent(&s, "demo_report.md", "Communication has no floor");
    scene_close(&s);
}

static void add_op(
        json_t *ops, const char *op, const char *what, double ms, json_int_t bytes) {
    json_array_append_new(json_object_get(ops, "ops"),
            json_pack("{s:s, s:s, s:i, s:f, s:I, s:i}", "op", op, "what", what, "calls",
                    1, "ms", ms, "bytes", bytes, "flops", 0));
}

// Its marks show when it was queued, or how long the others took: no floor is passed.
static void communication_has_a_time_and_no_floor(void **state) {
    (void)state;
    struct scene s = {0};
    struct record *r = open_h100(&s);
    add_op(r->ops, "all_reduce", "gradients", 0.0625, 3352000000);
    add_op(r->ops, "reduce_scatter", "gradients", 0.125, 3352000000);
    add_op(r->ops, "all_gather", "weights", 0.375, 3352000000);
    add_op(r->ops, "comm_wait", "gradients", 0.5, 0);
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "| `matmul_forward` | `hidden` | 24 | 2.000 | 0.500 | 1.500 | 25.0 % |\n"
            "| `comm_wait` | `gradients` | 1 | 0.500 |  |  |  |\n"
            "| `all_gather` | `weights` | 1 | 0.375 |  |  |  |\n"
            "| `adamw` | `weights` | 2 | 1.250 | 1.000 | 0.250 | 80.0 % |\n"
            "| `reduce_scatter` | `gradients` | 1 | 0.125 |  |  |  |\n"
            "| `all_reduce` | `gradients` | 1 | 0.06250 |  |  |  |\n"
            "| `all` |  | 30 | 4.312 | 1.500 | 2.812 | 34.8 % |\n\n"
            "Communication has no floor here: its ops queue work or wait for other "
            "ranks, and `all` counts their time alone.\n");
    scene_says(&s, "demo_ops.csv", ",all_gather,weights,1,0.375,3352000000,0,,,\n");
    assert_int_equal(scene_check_csv(&s, "demo_ops.csv"), 6);
    scene_close(&s);
}

static void ops_of_an_unknown_device_have_times_only(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    folder_ran(&s.folder, "a", "a", "", 100, MIB)->ops = two_ops();
    folder_ran(&s.folder, "b", "b", "batch=2 seq_len=16", 100, MIB)->ops = two_ops();
    struct record *r =
            folder_ran(&s.folder, "c", "c", "batch=2 seq_len=16 window=4", 90, MIB);
    r->ops = json_pack("{s:[s, {s:s}, {s:s, s:s, s:i}]}", "ops", "odd", "op", "x", "op",
            "clip", "what", "control", "ms", 1);
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "This device's peaks are not known, so there are no floors.");
    scene_says(&s, "demo_report.md", "| `all` |  | 26 | 3.250 |\n");
    scene_says(&s, "demo_ops.csv", ",adamw,weights,2,1.25,3352000000,0,,,\n");
    scene_says(&s, "demo_report.md", "Of 3 cells with such times 2 are shown");
    assert_int_equal(scene_check_csv(&s, "demo_ops.csv"), 5);
    scene_close(&s);
}

static void without_ops_there_is_no_ledger(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    folder_ran(&s.folder, "a", "a", "", 100, MIB);
    scene_report(&s);
    scene_is_silent(&s, "demo_report.md", "Where the time goes");
    assert_false(scene_has(&s, "demo_ops.csv"));
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(ops_are_held_against_their_floors),
            cmocka_unit_test(communication_has_a_time_and_no_floor),
            cmocka_unit_test(ops_of_an_unknown_device_have_times_only),
            cmocka_unit_test(without_ops_there_is_no_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
