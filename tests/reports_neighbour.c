/* Cells that ran while others did: the report says how many, and where it matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/helpers/scene.h"

/* An attempt of a cell; it ran from second `from` to `to` of a boot of a machine. */
struct run {
    int cell;
    const char *boot; /* NULL: not known */
    int64_t from, to;
};

static void set_span(struct record *r, const struct run *run) {
    r->started_unix_ms = 1700000000000 + 1000 * run->from;
    r->ended_unix_ms = 1700000000000 + 1000 * run->to;
    r->wall_ms = 1000 * (run->to - run->from);
    if (run->boot) {
        folder_fact(r, "boot_id", run->boot);
    }
}

// Cells in `runs`, by number, ended ok with noisy steps; reported.
static void report_runs(struct scene *s, const struct run *runs, size_t count) {
    size_t cells = 0;
    scene_open(s, "n0");
    for (size_t i = 0; i < count; i++) {
        if ((size_t)runs[i].cell == cells) {
            char id[16], settings[32];
            snprintf(id, sizeof id, "n%zu", cells);
            snprintf(settings, sizeof settings, "batch=%zu", ++cells);
            folder_cell(&s->folder, "n", id, settings, NULL);
        }
        struct record *r =
                folder_attempt(&s->folder, (size_t)runs[i].cell, STATUS_OK, 100, MIB);
        folder_metric(r, "step_noise", 0.5);
        set_span(r, runs + i);
    }
    scene_report(s);
}

static void assert_undisturbed(const struct run *runs, size_t count) {
    struct scene s = {0};
    report_runs(&s, runs, count);
    scene_is_silent(&s, "demo_report.md", "may be disturbed");
    scene_is_silent(&s, "demo_report.md", "beside others");
    scene_says(&s, "demo_report.md", "Was the machine busy with something else?");
    scene_close(&s);
}

static void assert_disturbed(const struct run *runs, size_t count, const char *told) {
    struct scene s = {0};
    char words[200];
    report_runs(&s, runs, count);
    snprintf(words, sizeof words,
            "**The timings may be disturbed**: %s ran beside others on one machine. "
            "One at a time, run again with `--fresh`, they tell more.\n",
            told);
    scene_says(&s, "demo_report.md", words);
    snprintf(words, sizeof words,
            " in all. %s ran beside others on one machine, so their timings may be "
            "disturbed\n",
            told);
    scene_says(&s, "demo_report.md", words);
    scene_says(&s, "demo_report.md",
            "The timings are noisy**: in half of the cells the steps spread over more "
            "than 50.0 % of their median. `--repeats 3` on a quiet machine tells "
            "more.");
    scene_close(&s);
}

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void one_after_another_is_not_mentioned(void **state) {
    (void)state;
    const struct run in_turn[] = {{0, "b", 0, 10}, {1, "b", 10, 20}, {2, "b", 20, 30}};
    assert_undisturbed(in_turn, COUNT(in_turn));
    const struct run elsewhere[] = {{0, "b", 0, 10}, {1, "c", 5, 20}};
    assert_undisturbed(elsewhere, COUNT(elsewhere));
    const struct run unknown[] = {{0, NULL, 0, 10}, {1, NULL, 5, 20}};
    assert_undisturbed(unknown, COUNT(unknown));
}

static void those_that_shared_their_time_are_counted(void **state) {
    (void)state;
    const struct run pair[] = {{0, "b", 0, 10}, {1, "b", 9, 20}, {2, "b", 20, 30}};
    assert_disturbed(pair, COUNT(pair), "2 of 3 cells");
    // One that runs on through all the others; they do not meet each other.
    const struct run among[] = {{0, "b", 0, 5}, {1, "b", 12, 14}, {2, "b", 10, 40},
            {3, "c", 10, 40}, {4, "b", 20, 30}, {5, "b", 40, 50}};
    assert_disturbed(among, COUNT(among), "3 of 6 cells");
    // An attempt that a newer one replaces disturbed the other cell all the same.
    const struct run replaced[] = {{0, "b", 0, 10}, {0, "b", 30, 40}, {1, "b", 5, 20}};
    assert_disturbed(replaced, COUNT(replaced), "1 of 2 cells");
}

// Its record has the time when someone found that its supervisor was gone.
static void one_whose_end_nobody_saw_disturbs_nobody(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    size_t lost = folder_cell(&s.folder, "n", "lost", "batch=3", NULL);
    const struct run before = {0, "b", 0, 100}, after = {1, "b", 50, 60};
    struct record *r = folder_attempt(&s.folder, lost, STATUS_LOST, 0, 0);
    set_span(r, &before);
    r->wall_ms = 0;
    set_span(folder_ran(&s.folder, "n", "n", "batch=2", 100, MIB), &after);
    scene_report(&s);
    scene_is_silent(&s, "demo_report.md", "may be disturbed");
    scene_close(&s);
}

static void faults_are_no_timings_to_disturb(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 2; i++) {
        char settings[24];
        snprintf(settings, sizeof settings, "batch=%d", i + 1);
        size_t at = folder_cell(&s.folder, "n", i ? "x" : "y", settings, NULL);
        s.folder.results.plan.cells.items[at].expect = STATUS_CRASHED;
        const struct run same = {i, "b", 0, 10};
        set_span(folder_attempt(&s.folder, at, STATUS_CRASHED, 0, 0), &same);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md", "the cells took 20.0 s in all\n");
    scene_is_silent(&s, "demo_report.md", "may be disturbed");
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(one_after_another_is_not_mentioned),
            cmocka_unit_test(those_that_shared_their_time_are_counted),
            cmocka_unit_test(one_whose_end_nobody_saw_disturbs_nobody),
            cmocka_unit_test(faults_are_no_timings_to_disturb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
