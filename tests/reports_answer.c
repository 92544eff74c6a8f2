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

static void a_choice_names_what_moves_with_it(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    folder_ran(&s.folder, "a", "a", "", 100, 4 * MIB);
    folder_ran(&s.folder, "b", "b", "kernel=flash checkpoint=block", 80, 2 * MIB);
    scene_report(&s);
    scene_says(&s, "demo_report.md", "- `kernel` together with `checkpoint`: `flash`");
    scene_says(&s, "demo_report.md",
            "### `kernel`, moving with `checkpoint`\n\n"
            "Ratios are to `naive`, all but these equal.");
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

// What is said of the fastest cell's lead where the three kernels, from the fastest
// down, have this many attempts.
static void check_lead(const int attempts[3], const char *said) {
    static const char *const kernels[] = {"flash", "fused", "naive"};
    struct scene s = {0};
    scene_open(&s, "");
    for (int k = 0; k < 3; k++) {
        char settings[64];
        snprintf(settings, sizeof settings, "repeats=3 kernel=%s", kernels[k]);
        size_t at = folder_cell(&s.folder, "n", kernels[k], settings, NULL);
        for (int i = 0; i < attempts[k]; i++) {
            folder_attempt(&s.folder, at, STATUS_OK, 300 - 100 * k + i, MIB);
        }
    }
    scene_report(&s);
    if (said) {
        scene_says(&s, "demo_report.md", said);
    } else {
        scene_is_silent(&s, "demo_report.md", "Its lead");
    }
    scene_close(&s);
}

static void a_lead_is_held_against_the_next_one_only(void **state) {
    (void)state;
    check_lead((const int[]){3, 3, 1}, NULL);
    check_lead((const int[]){3, 1, 3}, " Its lead over the next, `fused`, rests on a "
                                       "single attempt: not told from "
                                       "drift.\n");
    check_lead((const int[]){1, 3, 3},
            " Its lead over the next, `fused`, rests on a single attempt: ");
    check_lead((const int[]){1, 1, 3},
            " Its lead over the next, `fused`, rests on single attempts: ");
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

// Kernels 0 naive and 1 flash at one batch, with these speeds, MiB and perplexities.
static void add_rivals(struct scene *s, int batch, const double tps[2],
        const double mib[2], const double ppl[2]) {
    for (int k = 0; k < 2; k++) {
        char id[64], settings[64];
        snprintf(id, sizeof id, "n/batch=%d,kernel=%d", batch, k);
        snprintf(settings, sizeof settings, "batch=%d kernel=%s", batch,
                k ? "flash" : "naive");
        struct record *r =
                folder_ran(&s->folder, "n", id, settings, tps[k], mib[k] * MIB);
        folder_metric(r, "val_ppl", ppl[k]);
    }
}

static void a_tie_is_won_by_nobody(void **state) {
    (void)state;
    static const double flash[] = {100, 150}, level[] = {100, 100};
    static const double equal[] = {5, 5}, hardly[] = {5.04, 5}, worse[] = {5.06, 5};
    struct scene s = {0};
    scene_open(&s, "");
    add_rivals(&s, 1, flash, level, equal);
    add_rivals(&s, 2, flash, level, hardly);
    add_rivals(&s, 3, level, level, worse);
    add_rivals(&s, 4, flash, level, equal);
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "- **Fastest** most often: `kernel=flash`, in 3 of 4 workloads; a tie in 1."
            "\n- **Leanest**: a tie in 4 of 4 workloads."
            "\n- **Best quality**: `n/batch=3,kernel=1` with `batch=3`; a tie in 3 of "
            "4 "
            "workloads.\n");
    scene_says(&s, "demo_report.md",
            "| `n/batch=2,kernel=1` | 150 | `n/batch=2,kernel=1` | 100.0 MiB † | "
            "`n/batch=2,kernel=1` | 5.000 † |");
    scene_says(&s, "demo_report.md",
            "| `n/batch=3,kernel=0` | 100 † | `n/batch=3,kernel=0` | 100.0 MiB † | "
            "`n/batch=3,kernel=1` | 5.000 |");
    scene_says(&s, "demo_report.md", "\n† A tie: ");
    scene_says(&s, "demo_recommendations.csv",
            "batch=3,2,\"n/batch=3,kernel=0\",100,1,\"n/batch=3,kernel=0\",104857600,1,"
            "\"n/batch=3,kernel=1\",5,0\n");
    scene_close(&s);
}

static void techniques_that_win_as_often_are_all_named(void **state) {
    (void)state;
    static const double first[] = {2, 1}, second[] = {1, 2};
    struct scene s = {0};
    scene_open(&s, "");
    for (int batch = 1; batch <= 4; batch++) {
        add_rivals(&s, batch, batch % 2 ? first : second, first, second);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "- **Fastest** most often: `kernel=flash`, `kernel=naive`, in 2 of 4 "
            "workloads each.\n");
    scene_is_silent(&s, "demo_report.md", "a tie in");
    scene_is_silent(&s, "demo_report.md", "A tie");
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(one_cell_is_not_ranked_against_itself),
            cmocka_unit_test(a_choice_names_what_moves_with_it),
            cmocka_unit_test(differences_within_noise_are_called_so),
            cmocka_unit_test(a_lead_is_held_against_the_next_one_only),
            cmocka_unit_test(different_work_is_never_ranked),
            cmocka_unit_test(many_workloads_are_summed_up),
            cmocka_unit_test(where_no_technique_wins_twice_each_winner_is_named),
            cmocka_unit_test(a_tie_is_won_by_nobody),
            cmocka_unit_test(techniques_that_win_as_often_are_all_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
