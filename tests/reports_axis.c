/* By parameter: pairs that differ in nothing else, sweeps, and what pairs prove. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/helpers/scene.h"

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
                i ? "Its lead over the next, `b`, rests on a single attempt: not told"
                  : "Its lead over the next, `b`, rests on single attempts: not told");
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

static void add_kernel(
        struct scene *s, int batch, bool flash, double tps, double peak) {
    char id[32], settings[64];
    snprintf(id, sizeof id, "n/batch=%d,kernel=%d", batch, flash);
    snprintf(settings, sizeof settings, "batch=%d kernel=%s", batch,
            flash ? "flash" : "naive");
    folder_ran(&s->folder, "n", id, settings, tps, peak);
}

// Cells of `count` batches, flash at `factor` of naive's speed, one attempt each.
static void report_pairs(struct scene *s, int count, double factor) {
    scene_open(s, "");
    for (int batch = 1; batch <= count; batch++) {
        add_kernel(s, batch, false, 100, MIB);
        add_kernel(s, batch, true, 100 * factor, MIB);
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

static void sweeps_of_numbers_show_their_rows(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 6; i++) {
        int batch = 1 << (i / 2);
        add_kernel(&s, batch, i % 2, 100 + i, batch * MIB);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md", "| `4` | `n/batch=4,kernel=1` | 105 | 4.00 MiB |");
    scene_close(&s);
}

static void zipped_parameters_are_one_choice(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    folder_ran(&s.folder, "m", "small", "layers=2 d_model=64", 100, MIB);
    folder_ran(&s.folder, "m", "large", "layers=4 d_model=128", 25, 4 * MIB);
    scene_report(&s);
    scene_says(&s, "demo_report.md", "### `layers`, moving with `d_model`");
    scene_is_silent(&s, "demo_report.md", "### `d_model`");
    scene_says(&s, "demo_report.md", "0.25×");
    assert_true(scene_has(&s, "demo_by_d_model.csv"));
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(single_attempts_prove_no_difference),
            cmocka_unit_test(three_like_pairs_that_agree_prove_one),
            cmocka_unit_test(sweeps_of_numbers_show_their_rows),
            cmocka_unit_test(zipped_parameters_are_one_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
