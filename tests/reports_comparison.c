/* The comparison: speed-ups against the baseline, and the table that is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "reports/report.h"
#include "tests/helpers/scene.h"

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
        folder_ran(&s.folder, id, id, settings[i], 100 + 100 * i, MIB);
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

static void the_comparison_is_printed_where_asked(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    folder_ran(&s.folder, "a", "a", "batch=4", 1000, 4 * MIB);
    folder_ran(&s.folder, "b", "b", "batch=4 kernel=flash", 1500, 3 * MIB);
    folder_broken_attempt(&s.folder, 1, "torn");
    scene_report(&s);
    char *printed = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&printed, &size);
    struct text err = {0};
    scene_done(report_write(s.path, out, &err), &err);
    fclose(out);
    assert_string_equal(printed, "technique  batch  peak memory  tokens/s  speed-up\n"
                                 "a              4     4.00 MiB     1.00k     1.00×\n"
                                 "b              4     3.00 MiB     1.50k     1.50×\n"
                                 "1 record cannot be read: see \"Damaged records\" "
                                 "in demo_report.md\n");
    free(printed);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(the_baseline_under_set_stands_in_for_it),
            cmocka_unit_test(speed_ups_across_other_work_are_marked),
            cmocka_unit_test(the_comparison_is_printed_where_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
