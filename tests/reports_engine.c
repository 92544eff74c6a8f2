/* Engines side by side, each by the technique that serves it best. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/helpers/scene.h"

static const char page[] = "demo_report.md";

/* Two batches under two engines, and a third batch under one; the first engine's
 * fastest techniques, two as fast, are not its leanest. */
static void report_engines(struct scene *s) {
    scene_open(s, "");
    folder_ran(&s->folder, "n", "n1", "kernel=flash batch=1", 300, 6 * MIB);
    folder_ran(&s->folder, "n", "n1-naive", "kernel=naive batch=1", 300, 7 * MIB);
    folder_ran(&s->folder, "n", "n1-fused", "kernel=fused batch=1", 200, 4 * MIB);
    folder_ran(&s->folder, "n", "n2", "kernel=flash batch=2", 400, 8 * MIB);
    folder_ran(&s->folder, "n", "n3", "kernel=flash batch=3", 500, 9 * MIB);
    folder_ran(&s->folder, "t", "t1", "engine=torch batch=1", 100, 8 * MIB);
    folder_ran(&s->folder, "t", "t2", "engine=torch batch=2", 500, 8 * MIB);
    scene_report(s);
}

static void each_engine_stands_with_its_best_cells(void **state) {
    (void)state;
    struct scene s = {0};
    report_engines(&s);
    scene_says(&s, page,
            "| workload | engine | fastest | tokens/s | leanest | peak memory |\n"
            "|:---|:---|:---|---:|:---|---:|\n"
            "| `batch=1` | `native` | `n1-naive` | **300** | `n1-fused` | **4.00 MiB** "
            "|\n"
            "| `batch=1` | `torch` | `t1` | 100 | `t1` | 8.00 MiB |\n"
            "| `batch=2` | `native` | `n2` | 400 | `n2` | 8.00 MiB |\n"
            "| `batch=2` | `torch` | `t2` | **500** | `t2` | 8.00 MiB |\n\n");
    scene_says(
            &s, "demo_engines.csv", "batch=1,native,n1-naive,300,n1-fused,4194304\n");
    assert_int_equal(scene_check_csv(&s, "demo_engines.csv"), 4);
    scene_close(&s);
}

static void the_answer_sets_the_first_engine_against_the_others(void **state) {
    (void)state;
    struct scene s = {0};
    report_engines(&s);
    scene_says(&s, page,
            "- **Engines**: `native` at its fastest runs at 1.90× the speed of `torch` "
            "at its (0.80× to 3.00×, 2 workloads), at its leanest in 0.75× the memory "
            "(0.50× to 1.00×, 2 workloads); single attempts: not told from drift.\n");
    scene_close(&s);
}

static void add_repeated(struct folder *f, const char *id, const char *settings,
        const double tps[2], double peak) {
    size_t cell = folder_cell(f, "e", id, settings, NULL);
    folder_attempt(f, cell, STATUS_OK, tps[0], peak);
    folder_attempt(f, cell, STATUS_OK, tps[1], peak);
}

static void what_another_engine_may_be_is_not_ahead(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    add_repeated(&s.folder, "n", "repeats=2", (double[]){300, 302}, 4 * MIB);
    add_repeated(
            &s.folder, "narrow", "repeats=2 engine=torch", (double[]){290, 292}, NAN);
    add_repeated(&s.folder, "wide", "repeats=2 engine=torch kernel=fused",
            (double[]){250, 310}, NAN);
    add_repeated(&s.folder, "c", "repeats=2 engine=torch_compile", (double[]){150, 151},
            NAN);
    scene_report(&s);
    scene_says(&s, page, "| `native` | `n` | 301 |");
    scene_says(&s, page, "| `torch` | `narrow` | 291 |");
    scene_says(&s, page, "| **4.00 MiB** |\n"); // nothing is known of the others'
    scene_says(&s, page,
            "- **Engines**: `native` at its fastest runs at 1.03× the speed of `torch` "
            "at its.\n"
            "- **Engines**: `native` at its fastest runs at 2.00× the speed of "
            "`torch_compile` at its.\n");
    scene_close(&s);
}

static void engines_without_a_common_workload_are_not_compared(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    folder_ran(&s.folder, "n", "n1", "batch=1", 300, MIB);
    folder_ran(&s.folder, "t", "t2", "engine=torch batch=2", 100, MIB);
    size_t failed = folder_cell(&s.folder, "t", "t1", "engine=torch batch=1", NULL);
    folder_attempt(&s.folder, failed, STATUS_CRASHED, 0, 0);
    scene_report(&s);
    scene_is_silent(&s, page, "**Engines**");
    scene_is_silent(&s, page, "## Engines");
    assert_false(scene_has(&s, "demo_engines.csv"));
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(each_engine_stands_with_its_best_cells),
            cmocka_unit_test(the_answer_sets_the_first_engine_against_the_others),
            cmocka_unit_test(what_another_engine_may_be_is_not_ahead),
            cmocka_unit_test(engines_without_a_common_workload_are_not_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
