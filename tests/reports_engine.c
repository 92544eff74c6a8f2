/* Engines side by side, each by the technique that serves it best. */
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

static void each_engine_stands_by_its_best(void **state) {
    (void)state;
    struct scene s = {0};
    report_engines(&s);
    scene_says(&s, page,
            "| workload | native, tokens/s | torch, tokens/s | native, peak memory | "
            "torch, peak memory |\n");
    scene_says(&s, page, "| `batch=1` | **300** | 100 | **4.00 MiB** | 8.00 MiB |\n");
    scene_says(&s, page, "| `batch=2` | 400 | **500** | 8.00 MiB | 8.00 MiB |\n");
    scene_is_silent(&s, page, "| `batch=3` | 500 | ");
    scene_says(&s, "demo_engines.csv",
            "workload,native_tokens_per_s,native_fastest,torch_tokens_per_s,"
            "torch_fastest,native_peak_bytes,native_leanest,torch_peak_bytes,"
            "torch_leanest\nbatch=1,300,n1-naive,100,t1,4194304,n1-fused,8388608,t1\n");
    assert_int_equal(scene_check_csv(&s, "demo_engines.csv"), 2);
    scene_close(&s);
}

static void the_answer_sets_the_first_engine_against_the_others(void **state) {
    (void)state;
    struct scene s = {0};
    report_engines(&s);
    scene_says(&s, page,
            "- **Engines**, each at its best: `native` runs at 1.90× the speed of "
            "`torch` (0.80× to 3.00×), in 0.75× its memory (0.50× to 1.00×), in 2 "
            "workloads.\n");
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
            cmocka_unit_test(each_engine_stands_by_its_best),
            cmocka_unit_test(the_answer_sets_the_first_engine_against_the_others),
            cmocka_unit_test(engines_without_a_common_workload_are_not_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
