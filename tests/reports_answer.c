/* The answer to the matrix's question: who is ranked, against whom, and by how much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/helpers/scene.h"

static void one_cell_is_not_ranked_against_itself(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    folder_ran(&s.folder, "a", "a", "", 12345, 3 * MIB);
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

static void different_work_is_never_ranked(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 3; i++) {
        char id[32], settings[64];
        snprintf(id, sizeof id, "seq_len/seq_len=%d", 128 << i);
        snprintf(settings, sizeof settings, "seq_len=%d", 128 << i);
        folder_ran(&s.folder, "seq_len", id, settings, 1000 >> i, (1 << i) * MIB);
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
        // Flash wins all but the smallest batch.
        double tps = i < 2 ? 100 - 50 * i : 100 + 50 * (i % 2);
        folder_ran(&s.folder, "n", id, settings, tps, (2 - i % 2) * MIB);
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
            folder_ran(&s.folder, "n", id, settings, k + 1 == batch ? 200 : 100,
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

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(one_cell_is_not_ranked_against_itself),
            cmocka_unit_test(differences_within_noise_are_called_so),
            cmocka_unit_test(different_work_is_never_ranked),
            cmocka_unit_test(many_workloads_are_summed_up),
            cmocka_unit_test(where_no_technique_wins_twice_each_winner_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
