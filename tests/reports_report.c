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
#include "matrix/metric.h"
#include "reports/columns.h"
#include "reports/markdown.h"
#include "reports/report.h"
#include "tests/helpers/scene.h"

// A small matrix of the shape of smoke.yaml, with invented but regular numbers.
static void add_smoke_cells(struct folder *f) {
    static const char *const kernels[] = {"naive", "fused", "flash"};
    static const char *const precisions[] = {"fp32", "bf16"};
    static const char *const wrappers[] = {"none", "naive", "bucketed"};
    for (int w = 0; w < 3; w++) {
        for (int k = 0; k < 3; k++) {
            for (int p = 0; p < 2; p++) {
                char id[128], settings[256];
                snprintf(id, sizeof id, "attention/kernel=%s,precision=%s,ddp=%s",
                        kernels[k], precisions[p], wrappers[w]);
                snprintf(settings, sizeof settings,
                        "threads=1 layers=2 d_model=64 heads=4 seq_len=64 batch=4 "
                        "kernel=%s precision=%s ranks=%d ddp=%s",
                        kernels[k], precisions[p], w ? 2 : 1, wrappers[w]);
                size_t at = folder_cell(f, "attention", id, settings, NULL);
                double one = 1000.0 * (1 + 0.25 * k) * (p ? 0.8 : 1);
                double tps = w == 0 ? one : one * (w == 1 ? 1.7 : 1.88);
                double peak = (12 - 2 * k) * MIB * (p ? 0.75 : 1) + (w ? 65536 : 0);
                struct record *r = folder_attempt(f, at, STATUS_OK, tps, peak);
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
                json_array_append_new(r->memory,
                        json_pack("{s:s,s:f,s:f}", "kind", "params", "planned_bytes",
                                124672 * 4.0, "measured_bytes", 124672 * 4.0));
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

// LM_GOLDEN=write makes the golden files anew; then read the difference.
static void assert_golden(const char *golden, const char *found) {
    struct text expected = {0};
    struct text err = {0};
    const char *mode = getenv("LM_GOLDEN");
    if (mode && strcmp(mode, "write") == 0) {
        scene_done(file_write_quick(golden, found, strlen(found), &err), &err);
    }
    scene_done(file_read(golden, 1 << 24, &expected, &err), &err);
    assert_string_equal(found, text_get(&expected));
    text_finish(&expected);
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
        assert_golden(golden, found);
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

static void every_column_is_documented(void **state) {
    (void)state;
    struct text doc = {0};
    text_add(&doc,
            "# Columns of `<matrix>_results.csv`\n\n"
            "One row per planned cell, those excluded or not yet run included. A "
            "value that is\nnot known is empty: never 0, never NaN. Numbers are raw: "
            "bytes, milliseconds,\nunrounded. A cell with repeats shows the median "
            "over those that count. Find columns\nby name: more may come, none goes."
            "\n\n"
            "A row that is not ok holds what its attempt still knew, such as "
            "`planned_bytes`:\nfilter on `status` = `ok` and an empty `stale` before "
            "computing with the metrics.\n");
    const int starts[] = {0, 3, 3 + PARAM_COUNT, 3 + PARAM_COUNT + metric_count};
    static const char *const titles[] = {
            "Identity", "Parameters", "Metrics", "The result itself"};
    for (int c = 0, part = 0; c < columns_count(); c++) {
        if (part < 4 && c == starts[part]) {
            text_addf(&doc,
                    "\n## %s\n\n| column | unit | meaning |\n|:---|:---|:---|\n",
                    titles[part++]);
        }
        assert_non_null(columns_help(c));
        assert_true(*columns_help(c));
        text_addf(&doc, "| `%s` | %s | ", columns_name(c), columns_unit(c));
        markdown_add_text(&doc, columns_help(c));
        text_add(&doc, " |\n");
        for (int other = 0; other < c; other++) {
            assert_string_not_equal(columns_name(c), columns_name(other));
        }
    }
    assert_golden("reports/COLUMNS.md", text_get(&doc));
    text_finish(&doc);
}

static void results_begin_with_identity_parameters_metrics(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "batch=7", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100.25, MIB);
    scene_report(&s);
    char *text = scene_read(&s, "demo_results.csv");
    assert_int_equal(strncmp(text, "cell,hash,status,task,engine,device,arch,", 41), 0);
    assert_non_null(strstr(text, ",inject_phase,tokens_per_s,window_tokens,"));
    assert_non_null(strstr(text, "\na,"));
    assert_non_null(strstr(text, ",100.25,"));
    free(text);
    scene_close(&s);
}

static void what_a_gpu_told_is_shown(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 2; i++) {
        size_t a = folder_cell(
                &s.folder, "a", i ? "b" : "a", i ? "batch=2" : "precision=tf32", NULL);
        struct record *r =
                folder_attempt(&s.folder, a, STATUS_OK, i ? 100 : 1000, 90 * MIB);
        folder_fact(r, "device", "NVIDIA H100 PCIe");
        folder_fact(r, "throttle_reasons", i ? "none" : "power cap");
        folder_fact(r, "rank_cpus", "0-31");
        folder_metric(r, "flops_per_token", 1.89e11);
        folder_metric(r, "sm_clock_mhz", 1410);
        folder_metric(r, "joules_per_token", 0.25);
        folder_metric(r, "foreign_processes", i);
        folder_metric(r, "planned_bytes", 90 * MIB);
        folder_metric(r, "context_bytes", 500 * MIB);
    }
    scene_report(&s);
    assert_int_equal(scene_check_csv(&s, "demo_gpu.csv"), 2);
    scene_says(&s, "demo_gpu.csv", "0.5,,0.25,1410,,,,power cap,0\n");
    scene_says(
            &s, "demo_report.md", "| `a` | 50.0 % | 0.250 | 1,410 | power cap | 0 |");
    scene_says(&s, "demo_report.md", "Other processes computed on the GPU meanwhile");
    scene_says(&s, "demo_report.md",
            "Peaks: NVIDIA H100 PCIe in tf32: 378 TFLOP/s; NVIDIA H100 PCIe in fp32: "
            "51.2 TFLOP/s.");
    scene_says(&s, "demo_report.md", "On a GPU: the context of CUDA");
    scene_says(&s, "demo_memory.csv",
            ",context_bytes,handles_bytes,nccl_bytes,rest_bytes\n");
    scene_says(&s, "demo_results.csv", ",power cap,,,,,,,0-31\n");
    scene_close(&s);
}

static void what_a_cpu_cannot_tell_makes_no_section(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    struct record *r = folder_attempt(&s.folder, a, STATUS_OK, 1000, 90 * MIB);
    folder_fact(r, "device", "Intel(R) Xeon(R)");
    scene_report(&s);
    assert_false(scene_has(&s, "demo_gpu.csv"));
    scene_is_silent(&s, "demo_report.md", "How the GPU was used");
    scene_is_silent(&s, "demo_report.md", "Peaks:");
    scene_says(&s, "demo_results.csv", "mfu: no dense peak is known of 'Intel(R) Xeon");
    scene_close(&s);
}

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

static void ops_are_held_against_their_floors(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    size_t a = folder_cell(&s.folder, "a", "a", "precision=bf16", NULL);
    struct record *r = folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    folder_fact(r, "device", "NVIDIA H100 80GB HBM3");
    folder_metric(r, "sm_clock_mhz", 1000);
    folder_metric(r, "step_ms_median", 3);
    r->ops = two_ops();
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
    scene_close(&s);
}

static void ops_of_an_unknown_device_have_times_only(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "batch=2 seq_len=16", NULL);
    size_t c = folder_cell(&s.folder, "c", "c", "batch=2 seq_len=16 window=4", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB)->ops = two_ops();
    folder_attempt(&s.folder, b, STATUS_OK, 100, MIB)->ops = two_ops();
    struct record *r = folder_attempt(&s.folder, c, STATUS_OK, 90, MIB);
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
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    scene_report(&s);
    scene_is_silent(&s, "demo_report.md", "Where the time goes");
    assert_false(scene_has(&s, "demo_ops.csv"));
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

static void torn_records_are_named_and_the_rest_reported(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "kernel=flash", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    folder_broken_attempt(&s.folder, b, "torn");
    scene_report(&s);
    scene_says(&s, "demo_report.md", "## Damaged records");
    scene_says(&s, "demo_report.md", "/attempt-1");
    scene_says(&s, "demo_report.md", "record.json");
    scene_says(&s, "demo_report.md", "2 cells: 1 ok, 1 lost.");
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
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "kernel=flash", NULL);
    struct record *r = folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    json_object_set_new(r->metrics, "tokens_per_s", json_string("fast"));
    json_object_set_new(r->metrics, "peak_bytes", json_array());
    json_object_set_new(r->provenance, "cores", json_string("two"));
    json_object_set_new(r->provenance, "cpu", json_integer(5));
    json_object_set_new(r->provenance, "gpus", json_pack("[i,[],{}]", 1));
    json_array_append_new(r->memory, json_string("params"));
    json_array_append_new(r->memory, json_pack("{s:i}", "kind", 3));
    folder_attempt(&s.folder, b, STATUS_OK, 0, 0);
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

static void one_cell_is_not_ranked_against_itself(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 12345, 3 * MIB);
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "- `a`: 12.3k tokens/s, 3.00 MiB at the peak; nothing to rank it against.");
    scene_is_silent(&s, "demo_report.md", "Fastest");
    scene_is_silent(&s, "demo_report.md", "## By parameter");
    scene_says(&s, "demo_report.md", "No speed-up: the matrix names no baseline.");
    scene_close(&s);
}

static void differences_within_noise_are_called_so(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    size_t a = folder_cell(&s.folder, "a", "a", "repeats=2", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "repeats=2 kernel=fused", NULL);
    size_t c = folder_cell(&s.folder, "c", "c", "repeats=2 kernel=flash", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, 4 * MIB);
    folder_attempt(&s.folder, a, STATUS_OK, 110, 4 * MIB);
    folder_attempt(&s.folder, b, STATUS_OK, 105, 5 * MIB);
    folder_attempt(&s.folder, b, STATUS_OK, 107, 5 * MIB);
    folder_attempt(&s.folder, c, STATUS_OK, 50, 3 * MIB);
    folder_attempt(&s.folder, c, STATUS_OK, 51, 3 * MIB);
    scene_report(&s);
    scene_says(&s, "demo_report.md", "**Fastest**: `b`");
    scene_says(&s, "demo_report.md", "Within noise of it: `a`.");
    scene_says(&s, "demo_report.md", "**Both**: `a`");
    scene_says(&s, "demo_report.md", "± 4.8 %");
    scene_says(&s, "demo_report.md", "| within noise |");
    scene_says(&s, "demo_report.md", "| slower |");
    scene_close(&s);
}

// `a` beside `b` at half its speed, each with this many attempts.
static void report_pair(struct scene *s, int attempts_a, int attempts_b) {
    scene_open(s, "a");
    size_t a = folder_cell(&s->folder, "a", "a", "repeats=2", NULL);
    size_t b = folder_cell(&s->folder, "b", "b", "repeats=2 kernel=flash", NULL);
    for (int i = 0; i < attempts_a; i++) {
        folder_attempt(&s->folder, a, STATUS_OK, 100 + i, MIB);
    }
    for (int i = 0; i < attempts_b; i++) {
        folder_attempt(&s->folder, b, STATUS_OK, 50 + i, MIB);
    }
    scene_report(s);
}

static void single_attempts_prove_no_difference(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct scene s = {0};
        report_pair(&s, i == 1 ? 2 : 1, i == 2 ? 2 : 1);
        scene_says(&s, "demo_report.md",
                "× the speed of `naive` (single attempts: not told from drift; 1 like");
        scene_says(&s, "demo_by_kernel.csv", ",single attempts: not told from drift");
        scene_says(&s, "demo_report.md",
                "Its lead over the others rests on single attempts: not told from");
        scene_says(&s, "demo_report.md", "`--repeats 3` tells more.");
        scene_is_silent(&s, "demo_report.md", "(slower;");
        scene_close(&s);
    }
    struct scene s = {0};
    report_pair(&s, 2, 2);
    scene_says(&s, "demo_report.md", "(slower; 1 like pair)");
    scene_says(&s, "demo_by_kernel.csv", ",slower");
    scene_is_silent(&s, "demo_report.md", "drift;");
    scene_is_silent(&s, "demo_report.md", "single attempts");
    scene_is_silent(&s, "demo_report.md", "`--repeats 3`");
    scene_close(&s);
}

// Cells of `count` batches, flash at `factor` of naive's speed, one attempt each.
static void report_pairs(struct scene *s, int count, double factor) {
    scene_open(s, "");
    for (int i = 0; i < 2 * count; i++) {
        char id[64], settings[64];
        snprintf(id, sizeof id, "n/batch=%d,kernel=%d", i / 2, i % 2);
        snprintf(settings, sizeof settings, "batch=%d kernel=%s", i / 2 + 1,
                i % 2 ? "flash" : "naive");
        size_t at = folder_cell(&s->folder, "n", id, settings, NULL);
        folder_attempt(&s->folder, at, STATUS_OK, i % 2 ? 100 * factor : 100, MIB);
    }
    scene_report(s);
}

static void three_like_pairs_that_agree_prove_one(void **state) {
    (void)state;
    struct scene s = {0};
    report_pairs(&s, 2, 1.5);
    scene_says(&s, "demo_report.md", "(single attempts: not told from drift; 2 like");
    scene_close(&s);
    report_pairs(&s, 3, 1.5);
    scene_says(&s, "demo_report.md", "(faster; 3 like pairs, 1.50×)");
    scene_says(&s, "demo_by_kernel.csv", ",faster");
    scene_close(&s);
    report_pairs(&s, 3, 0.5);
    scene_says(&s, "demo_report.md", "(slower; 3 like pairs, 0.50×)");
    scene_close(&s);
}

static void different_work_is_never_ranked(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 3; i++) {
        char id[32], settings[64];
        snprintf(id, sizeof id, "seq_len/seq_len=%d", 128 << i);
        snprintf(settings, sizeof settings, "seq_len=%d", 128 << i);
        size_t at = folder_cell(&s.folder, "seq_len", id, settings, NULL);
        folder_attempt(&s.folder, at, STATUS_OK, 1000 >> i, (1 << i) * MIB);
    }
    scene_report(&s);
    scene_is_silent(&s, "demo_report.md", "Fastest");
    scene_says(&s, "demo_report.md", "No two cells do the same work");
    scene_says(&s, "demo_report.md", "### `seq_len`");
    scene_says(&s, "demo_by_seq_len.csv", "seq_len/seq_len=512");
    scene_close(&s);
}

static void many_workloads_are_summed_up(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 10; i++) {
        char id[64], settings[64];
        snprintf(id, sizeof id, "n/batch=%d,kernel=%d", i / 2, i % 2);
        snprintf(settings, sizeof settings, "batch=%d kernel=%s", i / 2 + 1,
                i % 2 ? "flash" : "naive");
        size_t at = folder_cell(&s.folder, "n", id, settings, NULL);
        // Flash wins all but the smallest batch.
        double tps = i < 2 ? 100 - 50 * i : 100 + 50 * (i % 2);
        folder_attempt(&s.folder, at, STATUS_OK, tps, (2 - i % 2) * MIB);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "- **Fastest** most often: `kernel=flash`, in 4 of 5 workloads.");
    scene_says(&s, "demo_report.md",
            "- **Leanest** most often: `kernel=flash`, in 5 of 5 workloads.");
    scene_says(&s, "demo_report.md",
            "(single attempts: not told from drift; 5 like pairs");
    scene_says(&s, "demo_report.md", "| `batch=1` | 2 | `n/batch=0,kernel=0` |");
    scene_close(&s);
}

static void where_no_technique_wins_twice_each_winner_is_named(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    static const char *const kernels[] = {"naive", "fused", "flash"};
    for (int batch = 1; batch <= 4; batch++) {
        // One kernel each wins batches 1 to 3; batch 4 has no choice.
        for (int k = 0; k < (batch < 4 ? 3 : 1); k++) {
            char id[64], settings[64];
            snprintf(id, sizeof id, "n/batch=%d,kernel=%s", batch, kernels[k]);
            snprintf(
                    settings, sizeof settings, "batch=%d kernel=%s", batch, kernels[k]);
            size_t at = folder_cell(&s.folder, "n", id, settings, NULL);
            folder_attempt(&s.folder, at, STATUS_OK, k + 1 == batch ? 200 : 100,
                    (k == 1 ? 1 : 2) * MIB);
        }
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "- **Fastest**: `n/batch=1,kernel=naive` with `batch=1`, "
            "`n/batch=2,kernel=fused` with `batch=2`, "
            "`n/batch=3,kernel=flash` with `batch=3`.\n");
    scene_is_silent(&s, "demo_report.md", "**Fastest** most often");
    scene_says(&s, "demo_report.md",
            "- **Leanest** most often: `kernel=fused`, in 3 of 3 workloads.");
    scene_close(&s);
}

// A matrix run under --set: the file's cells did not run, `count` of those it made did.
static void report_set(struct scene *s, int count) {
    scene_open(s, "base/kernel=naive");
    for (int i = 0; i <= count; i++) {
        for (int k = 0; k < 2; k++) {
            char id[64], settings[64];
            const char *kernel = k ? "flash" : "naive";
            snprintf(id, sizeof id, "base/kernel=%s", kernel);
            snprintf(settings, sizeof settings, "kernel=%s batch=%d", kernel, 8 >> i);
            if (i) {
                snprintf(id, sizeof id, "base/kernel=%s,batch=%d", kernel, 8 >> i);
            }
            size_t at = folder_cell(&s->folder, "base", id, settings, NULL);
            s->folder.results.plan.cells.items[at].from_set = i > 0;
            if (i) {
                folder_attempt(&s->folder, at, STATUS_OK, 100 << k, MIB);
            }
        }
    }
    scene_report(s);
}

static void the_baseline_under_set_stands_in_for_it(void **state) {
    (void)state;
    struct scene s = {0};
    report_set(&s, 1);
    scene_says(&s, "demo_report.md",
            "Speed-up is against `base/kernel=naive,batch=4`, what `--set` made of the "
            "baseline `base/kernel=naive`, which did not run.");
    scene_says(&s, "demo_report.md", "2.00× the baseline's speed.");
    scene_says(&s, "demo_comparison.csv", ",200,2,");
    scene_close(&s);
    // Two such cells are no baseline.
    report_set(&s, 2);
    scene_says(&s, "demo_report.md",
            "No speed-up: the baseline 'base/kernel=naive' ended not_run.");
    scene_close(&s);
}

static void speed_ups_across_other_work_are_marked(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    static const char *const settings[] = {
            "", "kernel=flash", "seq_len=96", "seq_len=96 kernel=flash", "batch=2"};
    for (int i = 0; i < 5; i++) {
        char id[2] = {(char)('a' + i), '\0'};
        size_t at = folder_cell(&s.folder, id, id, settings[i], NULL);
        folder_attempt(&s.folder, at, STATUS_OK, 100 + 100 * i, MIB);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md", "| 200 | 2.00× |");
    scene_says(&s, "demo_report.md", "| 300 | 3.00× † |");
    scene_says(&s, "demo_report.md", "| 400 | 4.00× † |");
    scene_says(&s, "demo_report.md", "| 500 | 5.00× |");
    scene_says(&s, "demo_report.md", "`a`. † Other work than the baseline's");
    scene_says(&s, "demo_report.md", "2.00× the baseline's speed");
    scene_is_silent(&s, "demo_report.md", "4.00× the baseline's speed");
    scene_says(&s, "demo_report.md", "**Fastest**: `d`");
    scene_says(&s, "demo_comparison.csv", ",400,4,");
    scene_close(&s);
}

static void stated_statuses_are_held_against_what_happened(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    static const enum status ends[] = {
            STATUS_CRASHED, STATUS_UNSUPPORTED, STATUS_HANG, STATUS_OK};
    for (int i = 0; i < 4; i++) {
        char id[16], settings[32];
        snprintf(id, sizeof id, "n%d", i);
        snprintf(settings, sizeof settings, "batch=%d", i + 1);
        size_t at = folder_cell(&s.folder, "n", id, settings, NULL);
        s.folder.results.plan.cells.items[at].expect = i < 3 ? STATUS_CRASHED : -1;
        folder_attempt(&s.folder, at, ends[i], 100, MIB);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "1 of 3 cells with a stated status ended in exactly that, 1 is unsupported "
            "on this machine, **1 did not**: `n2` (hang).");
    scene_says(&s, "demo_report.md", "| `n2` | hang | crashed, not met |");
    // What is expected asks for no remedy.
    scene_says(&s, "demo_report.md", "- **hang**: ");
    scene_is_silent(&s, "demo_report.md", "- **crashed**: ");
    scene_close(&s);
}

static void faults_as_stated_ask_for_no_repeats(void **state) {
    (void)state;
    // A cell that may end ok makes it a matrix of timings.
    for (int timings = 0; timings < 2; timings++) {
        struct scene s = {0};
        scene_open(&s, "");
        for (int i = 0; i < 2; i++) {
            char id[16], settings[32];
            snprintf(id, sizeof id, "n%d", i);
            snprintf(settings, sizeof settings, "batch=%d", i + 1);
            size_t at = folder_cell(&s.folder, "n", id, settings, NULL);
            s.folder.results.plan.cells.items[at].expect =
                    timings && i ? STATUS_OK : STATUS_CRASHED;
            struct record *r = folder_attempt(&s.folder, at, STATUS_OK, 100, MIB);
            folder_metric(r, "step_noise", 0.5);
        }
        scene_report(&s);
        void (*check)(const struct scene *, const char *, const char *) =
                timings ? scene_says : scene_is_silent;
        check(&s, "demo_report.md", "The timings are noisy");
        check(&s, "demo_report.md", "`--repeats 3`");
        check(&s, "demo_report.md", "- **noise**");
        scene_close(&s);
    }
}

static void ok_against_what_is_expected_is_listed(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 2; i++) {
        char id[16], settings[32];
        snprintf(id, sizeof id, "n%d", i);
        snprintf(settings, sizeof settings, "batch=%d", i + 1);
        size_t at = folder_cell(&s.folder, "n", id, settings, NULL);
        s.folder.results.plan.cells.items[at].expect = i ? STATUS_OK : STATUS_CRASHED;
        folder_attempt(&s.folder, at, STATUS_OK, 100, MIB);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "## Cells that are not ok, or ok against what is expected\n\n");
    scene_says(&s, "demo_report.md", "| `n0` | ok | crashed, not met |");
    assert_int_equal(scene_check_csv(&s, "demo_not_ok.csv"), 1);
    scene_is_silent(&s, "demo_report.md", "- **ok**");
    scene_close(&s);
}

static void cells_shared_by_experiments_are_no_seeds(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "n%d", i);
        size_t at = folder_cell(
                &s.folder, id, id, i < 2 ? "batch=2" : "batch=2 kernel=flash", NULL);
        folder_attempt(&s.folder, at, STATUS_OK, 100 - 10 * i, MIB);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md", "**Fastest**: `n0` (mean of 2 equal cells)");
    scene_is_silent(&s, "demo_report.md", "seeds)");
    scene_close(&s);
}

static void sweeps_of_numbers_show_their_rows(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 6; i++) {
        char id[32], settings[64];
        snprintf(id, sizeof id, "n/batch=%d,kernel=%d", 1 << (i / 2), i % 2);
        snprintf(settings, sizeof settings, "batch=%d kernel=%s", 1 << (i / 2),
                i % 2 ? "flash" : "naive");
        size_t at = folder_cell(&s.folder, "n", id, settings, NULL);
        folder_attempt(&s.folder, at, STATUS_OK, 100 + i, (1 << (i / 2)) * MIB);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md", "| `4` | `n/batch=4,kernel=1` | 105 | 4.00 MiB |");
    scene_close(&s);
}

static void zipped_parameters_are_one_choice(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    size_t a = folder_cell(&s.folder, "m", "small", "layers=2 d_model=64", NULL);
    size_t b = folder_cell(&s.folder, "m", "large", "layers=4 d_model=128", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    folder_attempt(&s.folder, b, STATUS_OK, 25, 4 * MIB);
    scene_report(&s);
    scene_says(&s, "demo_report.md", "### `layers`, moving with `d_model`");
    scene_is_silent(&s, "demo_report.md", "### `d_model`");
    scene_says(&s, "demo_report.md", "0.25×");
    assert_true(scene_has(&s, "demo_by_d_model.csv"));
    scene_close(&s);
}

static void seeds_are_averaged_not_ranked(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 6; i++) {
        char id[64], settings[64];
        snprintf(id, sizeof id, "n/precision=%s,seed=%d", i < 3 ? "fp32" : "bf16",
                i % 3);
        snprintf(settings, sizeof settings, "precision=%s seed=%d",
                i < 3 ? "fp32" : "bf16", i % 3 + 1);
        size_t at = folder_cell(&s.folder, "n", id, settings, NULL);
        struct record *r = folder_attempt(&s.folder, at, STATUS_OK, 100 + i, MIB);
        double loss = 1.88 + 0.01 * (i % 3) + (i < 3 ? 0 : 0.005);
        folder_metric(r, "val_loss", loss);
        folder_metric(r, "val_ppl", exp(loss));
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md", "## Over seeds");
    scene_says(&s, "demo_report.md", "| `precision=fp32` | 3 | 1.890 | 0.01000 |");
    scene_says(&s, "demo_report.md", "(mean of 3 seeds)");
    assert_int_equal(scene_check_csv(&s, "demo_seeds.csv"), 2);
    scene_close(&s);
}

static void report_checkpoint(double loss, const char *deterministic, struct scene *s) {
    scene_open(s, "");
    char settings[128];
    snprintf(settings, sizeof settings, "deterministic=%s", deterministic);
    size_t a = folder_cell(&s->folder, "a", "a", settings, NULL);
    snprintf(settings, sizeof settings, "checkpoint=block deterministic=%s",
            deterministic);
    size_t b = folder_cell(&s->folder, "b", "b", settings, NULL);
    folder_metric(
            folder_attempt(&s->folder, a, STATUS_OK, 100, MIB), "final_loss", 1.0 / 3);
    folder_metric(
            folder_attempt(&s->folder, b, STATUS_OK, 90, MIB / 2), "final_loss", loss);
    scene_report(s);
}

static void checkpointing_that_changes_a_loss_is_called_a_fault(void **state) {
    (void)state;
    struct scene s = {0};
    report_checkpoint(1.0 / 3, "on", &s);
    scene_says(&s, "demo_report.md",
            "- `checkpoint`: the very same losses, bit for bit, in 1 of 1 like pair.");
    scene_close(&s);
    report_checkpoint(nextafter(1.0 / 3, 1), "on", &s);
    scene_says(
            &s, "demo_report.md", "bit for bit, in 0 of 1 like pair. **Not in these");
    scene_says(&s, "demo_report.md", "a fault of the worker**: `b`.");
    scene_close(&s);
    report_checkpoint(0.5, "off", &s);
    scene_is_silent(&s, "demo_report.md", "very same losses");
    scene_close(&s);
}

static void stale_results_are_shown_apart(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "kernel=flash", NULL);
    folder_fact(
            folder_attempt(&s.folder, b, STATUS_OK, 777, MIB), "worker_build", "old");
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    scene_report(&s);
    scene_says(&s, "demo_report.md", "1 of the results is stale and left out below");
    scene_says(&s, "demo_report.md", "| `b` | worker build | 777 |");
    scene_says(&s, "demo_comparison.csv", ",ok (stale),");
    scene_is_silent(&s, "demo_comparison.csv", "777");
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

static void add_events(const struct scene *s, size_t cell, const char *events) {
    const struct cell *c = s->folder.results.plan.cells.items + cell;
    struct text path = {0};
    struct text err = {0};
    results_cell_folder(s->path, c->id, c->hash, &path);
    text_add(&path, "/attempt-1");
    scene_done(file_make_folders(text_get(&path), &err), &err);
    text_add(&path, "/rank0.jsonl");
    scene_done(file_write_quick(text_get(&path), events, strlen(events), &err), &err);
    text_finish(&path);
}

static void steps_come_from_events_and_garbage_is_passed_over(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    add_events(&s, a,
            "{\"event\":\"phase\",\"t_ms\":1,\"name\":\"measure\"}\n"
            "{\"event\":\"step\",\"t_ms\":2,\"step\":1,\"loss\":0,\"accuracy\":0.5,"
            "\"lr\":0.001}\n"
            "garbage \"step\" \xff\n"
            "{\"event\":\"step\",\"t_ms\":3,\"step\":2,\"loss\":null}\n"
            "{\"event\":\"step\",\"t_ms\":4,\"st");
    scene_report(&s);
    char *text = scene_read(&s, "demo_steps.csv");
    struct text expected = {0};
    const char *hash = s.folder.results.plan.cells.items[a].hash;
    text_add(&expected, "cell,hash,attempt,step,loss,perplexity,accuracy,lr\n");
    text_addf(&expected, "a,%s,1,1,0,1,0.5,0.001\na,%s,1,2,,,,\n", hash, hash);
    assert_string_equal(text, text_get(&expected));
    text_finish(&expected);
    free(text);
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

static void the_comparison_is_printed_where_asked(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    size_t a = folder_cell(&s.folder, "a", "a", "batch=4", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "batch=4 kernel=flash", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 1000, 4 * MIB);
    folder_attempt(&s.folder, b, STATUS_OK, 1500, 3 * MIB);
    scene_report(&s);
    char *printed = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&printed, &size);
    struct text err = {0};
    scene_done(report_write(s.path, out, &err), &err);
    fclose(out);
    assert_string_equal(printed, "technique  batch  peak memory  tokens/s  speed-up\n"
                                 "a              4     4.00 MiB     1.00k     1.00×\n"
                                 "b              4     3.00 MiB     1.50k     1.50×\n");
    free(printed);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(smoke_matrix_gives_the_golden_report),
            cmocka_unit_test(writing_twice_gives_the_same_bytes),
            cmocka_unit_test(every_column_is_documented),
            cmocka_unit_test(results_begin_with_identity_parameters_metrics),
            cmocka_unit_test(what_a_gpu_told_is_shown),
            cmocka_unit_test(what_a_cpu_cannot_tell_makes_no_section),
            cmocka_unit_test(ops_are_held_against_their_floors),
            cmocka_unit_test(ops_of_an_unknown_device_have_times_only),
            cmocka_unit_test(without_ops_there_is_no_ledger),
            cmocka_unit_test(names_that_need_escapes_break_nothing),
            cmocka_unit_test(torn_records_are_named_and_the_rest_reported),
            cmocka_unit_test(a_folder_without_a_plan_is_one_sentence),
            cmocka_unit_test(a_plan_cannot_write_outside_its_folder),
            cmocka_unit_test(records_with_odd_types_break_nothing),
            cmocka_unit_test(no_cell_run_yet_is_a_report_too),
            cmocka_unit_test(one_cell_is_not_ranked_against_itself),
            cmocka_unit_test(differences_within_noise_are_called_so),
            cmocka_unit_test(single_attempts_prove_no_difference),
            cmocka_unit_test(three_like_pairs_that_agree_prove_one),
            cmocka_unit_test(different_work_is_never_ranked),
            cmocka_unit_test(many_workloads_are_summed_up),
            cmocka_unit_test(where_no_technique_wins_twice_each_winner_is_named),
            cmocka_unit_test(the_baseline_under_set_stands_in_for_it),
            cmocka_unit_test(speed_ups_across_other_work_are_marked),
            cmocka_unit_test(stated_statuses_are_held_against_what_happened),
            cmocka_unit_test(faults_as_stated_ask_for_no_repeats),
            cmocka_unit_test(ok_against_what_is_expected_is_listed),
            cmocka_unit_test(cells_shared_by_experiments_are_no_seeds),
            cmocka_unit_test(sweeps_of_numbers_show_their_rows),
            cmocka_unit_test(zipped_parameters_are_one_choice),
            cmocka_unit_test(seeds_are_averaged_not_ranked),
            cmocka_unit_test(checkpointing_that_changes_a_loss_is_called_a_fault),
            cmocka_unit_test(stale_results_are_shown_apart),
            cmocka_unit_test(hundreds_of_cells_stay_readable),
            cmocka_unit_test(steps_come_from_events_and_garbage_is_passed_over),
            cmocka_unit_test(tables_of_an_earlier_report_do_not_linger),
            cmocka_unit_test(a_file_that_cannot_be_written_is_one_sentence),
            cmocka_unit_test(the_comparison_is_printed_where_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
