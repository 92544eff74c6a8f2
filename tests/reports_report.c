/* The report of a whole folder, against golden files and against what must hold. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "matrix/file.h"
#include "reports/report.h"
#include "tests/helpers/scene.h"

static void add_smoke_metrics(struct record *r, int w, int p, double tps, double peak) {
    folder_metric(r, "step_ms_median", 256e3 / tps);
    folder_metric(r, "step_ms_p10", 250e3 / tps);
    folder_metric(r, "step_ms_p90", 264e3 / tps);
    folder_metric(r, "step_noise", 14.0 / 256);
    folder_metric(r, "train_s", 40 * 256 / tps);
    folder_metric(r, "forward_ms", 80e3 / tps);
    folder_metric(r, "backward_ms", 160e3 / tps);
    folder_metric(r, "optimizer_ms", 1.5);
    folder_metric(r, "comm_exposed_ms", w == 0 ? 0 : w == 1 ? 9 : 0.5);
    folder_metric(r, "first_loss", 5.5);
    folder_metric(r, "final_loss", 1.625 + 0.0005 * p);
    folder_metric(r, "tokens_trained", w ? 20480 : 10240);
    folder_metric(r, "val_accuracy", 0.5);
    folder_metric(r, "val_loss", 1.5 + 0.0005 * p);
    folder_metric(r, "val_ppl", exp(1.5 + 0.0005 * p));
    folder_metric(r, "params", 124672);
    folder_metric(r, "planned_bytes", peak);
    folder_metric(r, "witness_bytes", peak + 9 * MIB);
    folder_metric(r, "params_bytes", 124672 * 4);
    folder_metric(r, "grads_bytes", 124672 * 4);
    folder_metric(r, "optimizer_bytes", 124672 * 8);
    folder_metric(r, "activations_bytes", peak - 124672 * 16 - 65536);
    folder_metric(r, "scratch_bytes", 65536);
    json_array_append_new(
            r->memory, json_pack("{s:s,s:f,s:f}", "kind", "params", "planned_bytes",
                               124672 * 4.0, "measured_bytes", 124672 * 4.0));
}

// Wrapper w, kernel k, precision p: invented but regular numbers.
static void add_smoke_cell(struct folder *f, int w, int k, int p) {
    static const char *const kernels[] = {"naive", "fused", "flash"};
    static const char *const precisions[] = {"fp32", "bf16"};
    static const char *const wrappers[] = {"none", "naive", "bucketed"};
    char id[128], settings[256];
    snprintf(id, sizeof id, "attention/kernel=%s,precision=%s,ddp=%s", kernels[k],
            precisions[p], wrappers[w]);
    snprintf(settings, sizeof settings,
            "threads=1 layers=2 d_model=64 heads=4 seq_len=64 batch=4 "
            "kernel=%s precision=%s ranks=%d ddp=%s",
            kernels[k], precisions[p], w ? 2 : 1, wrappers[w]);
    double one = 1000.0 * (1 + 0.25 * k) * (p ? 0.8 : 1);
    double tps = w == 0 ? one : one * (w == 1 ? 1.7 : 1.88);
    double peak = (12 - 2 * k) * MIB * (p ? 0.75 : 1) + (w ? 65536 : 0);
    struct record *r = folder_ran(f, "attention", id, settings, tps, peak);
    add_smoke_metrics(r, w, p, tps, peak);
}

// A small matrix of the shape of smoke.yaml.
static void add_smoke_cells(struct folder *f) {
    for (int w = 0; w < 3; w++) {
        for (int k = 0; k < 3; k++) {
            for (int p = 0; p < 2; p++) {
                add_smoke_cell(f, w, k, p);
            }
        }
    }
    size_t oom = folder_cell(f, "deep", "deep",
            "threads=1 layers=96 d_model=64 heads=4 seq_len=64 batch=4", NULL);
    struct record *r = folder_attempt(f, oom, STATUS_OOM_HOST, NAN, NAN);
    r->bytes_asked = (int64_t)(640 * MIB);
    r->bytes_free = (int64_t)(96 * MIB);
    r->predicted = true;
    folder_cell(f, "window", "window/window=64",
            "threads=1 layers=2 d_model=64 heads=4 seq_len=64 batch=4 window=64",
            "a window of 64 covers the whole sequence of 64");
    folder_seal(f);
}

static void smoke_matrix_gives_the_golden_report(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "attention/kernel=naive,precision=fp32,ddp=none");
    add_smoke_cells(&s.folder);
    scene_report(&s);
    static const char *const names[] = {"report.md", "comparison.csv",
            "kernel_wrapper.csv", "recommendations.csv", "memory.csv", "not_ok.csv",
            "phases.csv", "quality.csv", "by_kernel.csv", "by_ranks.csv"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char file[64], golden[128];
        snprintf(file, sizeof file, "demo_%s", names[i]);
        snprintf(golden, sizeof golden, "tests/reports/smoke/%s", file);
        char *found = scene_read(&s, file);
        scene_golden(golden, found);
        free(found);
    }
    assert_int_equal(scene_check_csv(&s, "demo_results.csv"), 20);
    scene_close(&s);
}

static void writing_twice_gives_the_same_bytes(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "attention/kernel=naive,precision=fp32,ddp=none");
    add_smoke_cells(&s.folder);
    scene_report(&s);
    char *page = scene_read(&s, "demo_report.md");
    char *csv = scene_read(&s, "demo_results.csv");
    struct text err = {0};
    scene_done(report_write(s.path, NULL, &err), &err);
    char *again = scene_read(&s, "demo_report.md");
    assert_string_equal(page, again);
    free(again);
    again = scene_read(&s, "demo_results.csv");
    assert_string_equal(csv, again);
    free(again);
    free(page);
    free(csv);
    scene_close(&s);
}

static void names_that_need_escapes_break_nothing(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "größe");
    size_t a = folder_cell(&s.folder, "größe", "größe", "data=a,b", NULL);
    size_t b = folder_cell(&s.folder, "x", "x|`y`,\"z\" <b>*", "data=c|d", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    struct record *r = folder_attempt(&s.folder, b, STATUS_FAILED, NAN, NAN);
    free(r->error);
    r->error = text_copy("cannot, \"really\" | <script>\nnot");
    folder_cell(&s.folder, "y", "y", "data=e", "because | of *this*");
    scene_report(&s);
    assert_int_equal(scene_check_csv(&s, "demo_results.csv"), 3);
    assert_int_equal(scene_check_csv(&s, "demo_not_ok.csv"), 2);
    assert_int_equal(scene_check_csv(&s, "demo_comparison.csv"), 2);
    scene_says(&s, "demo_report.md", "`größe`");
    scene_says(&s, "demo_report.md", "| ``x\\|`y`,\"z\" <b>*`` |");
    scene_says(&s, "demo_report.md", "\\<script\\> not");
    scene_says(&s, "demo_report.md", "because \\| of \\*this\\*");
    scene_close(&s);
}

static void all_commands_of_a_folder_are_shown(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    folder_ran(&s.folder, "a", "a", "", 100, MIB);
    scene_report(&s);
    scene_is_silent(&s, "demo_report.md", "Several runs filled this folder");
    folder_command(&s.folder, "runner run matrix/demo.yaml --tags b");
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "## To repeat it\n\n"
            "Several runs filled this folder; each command stands where it was first "
            "given.\n\n"
            "```sh\n"
            "runner run matrix/demo.yaml\n"
            "runner run matrix/demo.yaml --tags b\n"
            "```\n");
    scene_close(&s);
}

static void a_folder_without_a_plan_is_one_sentence(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    struct text err = {0};
    assert_false(report_write(s.path, NULL, &err));
    assert_non_null(strstr(text_get(&err), "plan.json"));
    assert_null(strchr(text_get(&err), '\n'));
    text_finish(&err);
    scene_close(&s);
}

static void a_plan_cannot_write_outside_its_folder(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    free(s.folder.results.plan.matrix);
    s.folder.results.plan.matrix = text_copy("../escaped");
    folder_cell(&s.folder, "a", "a", "", NULL);
    folder_seal(&s.folder);
    struct text err = {0};
    scene_done(folder_write(&s.folder, s.path, &err), &err);
    assert_false(report_write(s.path, NULL, &err));
    assert_non_null(strstr(text_get(&err), "../escaped"));
    text_finish(&err);
    scene_close(&s);
}

// Types that nobody promised: numbers as text, text as numbers, lists of the wrong
// kind.
static void records_with_odd_types_break_nothing(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    struct record *r = folder_ran(&s.folder, "a", "a", "", 100, MIB);
    json_object_set_new(r->metrics, "tokens_per_s", json_string("fast"));
    json_object_set_new(r->metrics, "peak_bytes", json_array());
    json_object_set_new(r->provenance, "cores", json_string("two"));
    json_object_set_new(r->provenance, "cpu", json_integer(5));
    json_object_set_new(r->provenance, "gpus", json_pack("[i,[],{}]", 1));
    json_array_append_new(r->memory, json_string("params"));
    json_array_append_new(r->memory, json_pack("{s:i}", "kind", 3));
    folder_ran(&s.folder, "b", "b", "kernel=flash", 0, 0);
    scene_report(&s);
    assert_int_equal(scene_check_csv(&s, "demo_results.csv"), 2);
    scene_is_silent(&s, "demo_report.md", "nan");
    scene_is_silent(&s, "demo_report.md", "inf ");
    scene_close(&s);
}

static void no_cell_run_yet_is_a_report_too(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    folder_cell(&s.folder, "a", "a", "", NULL);
    folder_cell(&s.folder, "b", "b", "batch=2", NULL);
    scene_report(&s);
    scene_says(&s, "demo_report.md", "2 cells: 2 not_run.");
    scene_says(&s, "demo_report.md", "there is no answer yet");
    assert_int_equal(scene_check_csv(&s, "demo_results.csv"), 2);
    scene_close(&s);
}

static void hundreds_of_cells_stay_readable(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "n/lr=1");
    for (int i = 1; i <= 300; i++) {
        char id[32], settings[32];
        snprintf(id, sizeof id, "n/lr=%d", i);
        snprintf(settings, sizeof settings, "seed=%d", i);
        size_t at = folder_cell(&s.folder, "n", id, settings, NULL);
        folder_attempt(&s.folder, at, i % 3 ? STATUS_OK : STATUS_TIMEOUT, 100 + i, MIB);
    }
    scene_report(&s);
    assert_int_equal(scene_check_csv(&s, "demo_results.csv"), 300);
    assert_int_equal(scene_check_csv(&s, "demo_not_ok.csv"), 100);
    char *page = scene_read(&s, "demo_report.md");
    assert_true(strlen(page) < 60000);
    assert_non_null(strstr(page, "all 300 are in `demo_comparison.csv`"));
    free(page);
    scene_close(&s);
}

static void tables_of_an_earlier_report_do_not_linger(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    folder_cell(&s.folder, "a", "a", "", NULL);
    struct text path = {0};
    struct text err = {0};
    text_addf(&path, "%s/demo_by_batch.csv", s.path);
    scene_done(file_write_quick(text_get(&path), "old\n", 4, &err), &err);
    text_clear(&path);
    text_addf(&path, "%s/mine.csv", s.path);
    scene_done(file_write_quick(text_get(&path), "mine\n", 5, &err), &err);
    text_finish(&path);
    scene_report(&s);
    assert_false(scene_has(&s, "demo_by_batch.csv"));
    assert_true(scene_has(&s, "mine.csv"));
    scene_close(&s);
}

static void a_file_that_cannot_be_written_is_one_sentence(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    folder_cell(&s.folder, "a", "a", "", NULL);
    scene_report(&s);
    // A folder where a file should go fails for root as well.
    struct text path = {0};
    struct text err = {0};
    text_addf(&path, "%s/demo_report.md", s.path);
    assert_int_equal(unlink(text_get(&path)), 0);
    text_add(&path, "/x");
    scene_done(file_make_folders(text_get(&path), &err), &err);
    assert_false(report_write(s.path, NULL, &err));
    assert_non_null(strstr(text_get(&err), "cannot write '"));
    assert_non_null(strstr(text_get(&err), "demo_report.md'"));
    text_finish(&err);
    text_finish(&path);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(smoke_matrix_gives_the_golden_report),
            cmocka_unit_test(writing_twice_gives_the_same_bytes),
            cmocka_unit_test(names_that_need_escapes_break_nothing),
            cmocka_unit_test(all_commands_of_a_folder_are_shown),
            cmocka_unit_test(a_folder_without_a_plan_is_one_sentence),
            cmocka_unit_test(a_plan_cannot_write_outside_its_folder),
            cmocka_unit_test(records_with_odd_types_break_nothing),
            cmocka_unit_test(no_cell_run_yet_is_a_report_too),
            cmocka_unit_test(hundreds_of_cells_stay_readable),
            cmocka_unit_test(tables_of_an_earlier_report_do_not_linger),
            cmocka_unit_test(a_file_that_cannot_be_written_is_one_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
