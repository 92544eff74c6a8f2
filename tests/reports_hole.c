/*
 * Cells that are not ok, or should not have been: stated statuses, stale results,
 * records that cannot be read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/helpers/scene.h"

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
    scene_says(&s, "demo_report.md", "fresh result that is ok: `kernel=flash`.");
    scene_says(&s, "demo_report.md", "| `b` | worker build | 777 |");
    scene_says(&s, "demo_comparison.csv", ",ok (stale),");
    scene_is_silent(&s, "demo_comparison.csv", "777");
    scene_close(&s);
}

// A cell that ran once, by an earlier build of the worker where `stale`.
static void add_built(
        struct scene *s, const char *id, const char *settings, bool stale) {
    struct record *r = folder_ran(&s->folder, "n", id, settings, 100, MIB);
    if (stale) {
        folder_fact(r, "worker_build", "old");
    }
}

static void techniques_with_stale_results_only_are_named_once(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    // Naive is stale altogether, and bf16 with it; fused for one batch only.
    add_built(&s, "a", "batch=1 kernel=naive", true);
    add_built(&s, "b", "batch=2 kernel=naive precision=bf16", true);
    add_built(&s, "c", "batch=2 kernel=fused", true);
    add_built(&s, "d", "batch=3 kernel=flash recompute=act", true);
    add_built(&s, "e", "batch=1 kernel=fused", false);
    add_built(&s, "f", "batch=1 kernel=flash", false);
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "6 cells: 6 ok; 4 of the results are stale and left out below. Not ranked "
            "at "
            "all, for want of a fresh result that is ok: `kernel=naive`, "
            "`recompute=act`.\n");
    scene_close(&s);
}

// Cell number `i`, of which the matrix states `expect`.
static struct record *add_stated(struct scene *s, int i, int expect, enum status end) {
    char id[16], settings[32];
    snprintf(id, sizeof id, "n%d", i);
    snprintf(settings, sizeof settings, "batch=%d", i + 1);
    size_t at = folder_cell(&s->folder, "n", id, settings, NULL);
    s->folder.results.plan.cells.items[at].expect = expect;
    return folder_attempt(&s->folder, at, end, 100, MIB);
}

static void stated_statuses_are_held_against_what_happened(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    static const enum status ends[] = {
            STATUS_CRASHED, STATUS_UNSUPPORTED, STATUS_HANG, STATUS_OK};
    for (int i = 0; i < 4; i++) {
        add_stated(&s, i, i < 3 ? STATUS_CRASHED : -1, ends[i]);
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
            int expect = timings && i ? STATUS_OK : STATUS_CRASHED;
            struct record *r = add_stated(&s, i, expect, STATUS_OK);
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
        add_stated(&s, i, i ? STATUS_OK : STATUS_CRASHED, STATUS_OK);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "## Cells that are not ok, or ok against what is expected\n\n");
    scene_says(&s, "demo_report.md", "| `n0` | ok | crashed, not met |");
    assert_int_equal(scene_check_csv(&s, "demo_not_ok.csv"), 1);
    scene_is_silent(&s, "demo_report.md", "- **ok**");
    scene_close(&s);
}

// A cell that was planned with a stated status and not run.
static void add_left(struct scene *s, int i) {
    char id[16], settings[32];
    snprintf(id, sizeof id, "n%d", i);
    snprintf(settings, sizeof settings, "batch=%d", i + 1);
    size_t at = folder_cell(&s->folder, "n", id, settings, NULL);
    s->folder.results.plan.cells.items[at].expect = STATUS_CRASHED;
}

static void what_was_not_run_hides_nothing_that_missed(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    // More than a page shows, before the cells that were tried.
    const int many = 70;
    for (int i = 0; i < many; i++) {
        add_left(&s, i);
    }
    add_stated(&s, many, STATUS_CRASHED, STATUS_CRASHED);
    add_stated(&s, many + 1, STATUS_CRASHED, STATUS_HANG);
    folder_cell(&s.folder, "x", "x", "batch=99", "for a reason");
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "\n1 of 2 tried cells with a stated status ended in exactly that, "
            "**1 did not**: `n71` (hang). 70 more were not run.\n");
    scene_says(&s, "demo_report.md",
            "|:---|:---|:---|:---|\n| `n71` | hang | crashed, not met | it went wrong "
            "(");
    scene_says(&s, "demo_report.md", "| `n70` | crashed | crashed | it went wrong (");
    scene_says(
            &s, "demo_report.md", "| `n0` | not_run | crashed | not attempted yet |");
    scene_says(&s, "demo_report.md", "… and 13 more rows; all 73 are in");
    scene_close(&s);
}

static void with_nothing_tried_nothing_missed(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    add_left(&s, 0);
    scene_report(&s);
    scene_says(&s, "demo_report.md", "\n1 cell with a stated status was not run.\n");
    scene_is_silent(&s, "demo_report.md", "did not");
    scene_is_silent(&s, "demo_report.md", "not met");
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(torn_records_are_named_and_the_rest_reported),
            cmocka_unit_test(stale_results_are_shown_apart),
            cmocka_unit_test(techniques_with_stale_results_only_are_named_once),
            cmocka_unit_test(stated_statuses_are_held_against_what_happened),
            cmocka_unit_test(faults_as_stated_ask_for_no_repeats),
            cmocka_unit_test(ok_against_what_is_expected_is_listed),
            cmocka_unit_test(what_was_not_run_hides_nothing_that_missed),
            cmocka_unit_test(with_nothing_tried_nothing_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
