/* Which attempts count for a cell, and what its row then says. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reports/tally.h"
#include "tests/helpers/folder.h"

#define MIB 1048576.0

struct scene {
    struct folder folder;
    struct tallies tallies;
};

static void open_scene(struct scene *s, const char *baseline) {
    folder_init(&s->folder, "demo", "", baseline);
}

static const struct tally *look(struct scene *s, size_t cell) {
    if (!s->tallies.items) {
        folder_seal(&s->folder);
        tallies_init(&s->tallies, &s->folder.results);
    }
    return s->tallies.items + cell;
}

static void close_scene(struct scene *s) {
    tallies_finish(&s->tallies);
    folder_finish(&s->folder);
}

static void assert_close(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-9 * fmax(1, fabs(expected)))) {
        fail_msg("found %.17g, expected %.17g", found, expected);
    }
}

static void repeats_give_their_median_and_range(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "repeats=3", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 90, 10 * MIB);
    folder_attempt(&s.folder, a, STATUS_OK, 110, 10 * MIB);
    folder_attempt(&s.folder, a, STATUS_OK, 100, 12 * MIB);
    const struct tally *t = look(&s, a);
    assert_int_equal(t->status, STATUS_OK);
    assert_int_equal(t->ok_count, 3);
    assert_close(tally_metric(t, "tokens_per_s"), 100);
    assert_close(t->tps.low, 90);
    assert_close(t->tps.high, 110);
    assert_close(tally_speed_spread_pct(t), 10);
    assert_close(tally_metric(t, "peak_bytes"), 10 * MIB);
    assert_null(t->note);
    close_scene(&s);
}

static void only_the_newest_attempts_count_when_run_afresh(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 50, MIB);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    assert_close(tally_metric(look(&s, a), "tokens_per_s"), 100);
    assert_int_equal(look(&s, a)->counted, 1);
    close_scene(&s);
}

static void what_ran_under_a_profiler_is_shown_and_never_used(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    struct record *r = folder_attempt(&s.folder, a, STATUS_OK, 7, 9 * MIB);
    r->profiler = text_copy("nsys");
    r->profile = text_copy("profile.nsys-rep");
    r = folder_attempt(&s.folder, b, STATUS_FAILED, NAN, NAN);
    r->profiler = text_copy("ncu");
    assert_close(tally_metric(look(&s, a), "tokens_per_s"), 100);
    assert_close(tally_metric(look(&s, a), "peak_bytes"), MIB);
    assert_int_equal(look(&s, a)->counted, 1);
    assert_non_null(strstr(look(&s, a)->note,
            "attempt 2 ran under 'nsys' and ended ok: used in no number, its profile "
            "is profile.nsys-rep in "));
    assert_int_equal(look(&s, b)->status, STATUS_NOT_RUN);
    assert_string_equal(look(&s, b)->cause, "attempted under 'ncu' only");
    assert_string_equal(look(&s, b)->note,
            "attempt 1 ran under 'ncu' and ended failed: used in no number, and it "
            "left no profile");
    close_scene(&s);
}

static void one_attempt_takes_its_noise_from_its_steps(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    struct record *r = folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    folder_metric(r, "step_ms_median", 10);
    folder_metric(r, "step_ms_p10", 8);
    folder_metric(r, "step_ms_p90", 20);
    assert_close(look(&s, a)->tps.low, 50);
    assert_close(look(&s, a)->tps.high, 125);
    assert_true(isnan(tally_speed_spread_pct(look(&s, a))));
    close_scene(&s);
}

static void an_interrupted_repeat_does_not_undo_the_others(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "repeats=2", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    folder_attempt(&s.folder, a, STATUS_INTERRUPTED, NAN, NAN);
    assert_int_equal(look(&s, a)->status, STATUS_OK);
    assert_close(tally_metric(look(&s, a), "tokens_per_s"), 100);
    close_scene(&s);
}

static void a_failed_repeat_is_remarked_on(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "repeats=2", NULL);
    folder_attempt(&s.folder, a, STATUS_CRASHED, NAN, NAN);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    assert_int_equal(look(&s, a)->status, STATUS_OK);
    assert_string_equal(look(&s, a)->note, "attempt 1 ended crashed");
    assert_int_equal(look(&s, a)->ok_count, 1);
    close_scene(&s);
}

static void a_failure_names_rank_phase_signal_and_bytes(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "ranks=2 ddp=naive", NULL);
    struct record *r = folder_attempt(&s.folder, a, STATUS_OOM_HOST, NAN, NAN);
    r->guilty_rank = 1;
    r->ranks = text_allocate_zeroed(2, sizeof *r->ranks);
    for (int i = 0; i < 2; i++) {
        r->ranks[i].phase = text_copy("measure");
    }
    r->rank_count = 2;
    r->signal = SIGKILL;
    r->bytes_asked = (int64_t)(64 * MIB);
    r->bytes_free = (int64_t)(2 * MIB);
    r->predicted = true;
    assert_string_equal(look(&s, a)->cause,
            "it went wrong (rank 1, phase measure, after step 7, SIGKILL, "
            "asked for 64.0 MiB with 2.00 MiB free, foreseen by the plan)");
    close_scene(&s);
}

static void stale_results_stay_apart_from_fresh_ones(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "a");
    size_t a = folder_cell(&s.folder, "a", "a", "repeats=2", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "kernel=flash", NULL);
    size_t c = folder_cell(&s.folder, "c", "c", "kernel=fused", NULL);
    folder_fact(
            folder_attempt(&s.folder, a, STATUS_OK, 10, MIB), "worker_build", "old");
    folder_fact(
            folder_attempt(&s.folder, b, STATUS_OK, 30, MIB), "worker_build", "old");
    folder_fact(folder_attempt(&s.folder, c, STATUS_OK, 40, MIB), "data_digest", "old");
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    assert_close(tally_metric(look(&s, a), "tokens_per_s"), 100);
    assert_null(look(&s, a)->stale);
    assert_string_equal(look(&s, b)->stale, "worker build");
    assert_string_equal(look(&s, c)->stale, "data");
    assert_false(tally_counts(look(&s, b)));
    assert_true(isnan(tally_metric(look(&s, b), "speedup")));
    close_scene(&s);
}

/* An attempt of PyTorch's worker; without a device: it ended before it had found one.
 */
static void try_torch(struct scene *s, size_t cell, enum status status,
        const char *build, bool device) {
    struct record *r = folder_attempt(&s->folder, cell, status, 10, MIB);
    folder_fact(r, "worker_build", build);
    if (!device) {
        json_object_del(r->provenance, "device");
    }
}

static void a_missing_peer_outdates_nothing(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "engine=torch", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "engine=torch batch=2", NULL);
    size_t c = folder_cell(&s.folder, "c", "c", "engine=torch batch=3", NULL);
    size_t d = folder_cell(&s.folder, "d", "d", "engine=torch_compile", NULL);
    try_torch(&s, a, STATUS_OK, "x torch-2", true);
    try_torch(&s, b, STATUS_UNSUPPORTED, "x torch-none", false);
    try_torch(&s, b, STATUS_FAILED, "x torch-2", false);
    try_torch(&s, a, STATUS_UNSUPPORTED, "x torch-none", false);
    try_torch(&s, c, STATUS_UNSUPPORTED, "x torch-none", false);
    try_torch(&s, d, STATUS_UNSUPPORTED, "x torch-none", false);
    assert_int_equal(look(&s, a)->status, STATUS_OK);
    assert_null(look(&s, a)->stale);
    assert_int_equal(look(&s, b)->status, STATUS_FAILED);
    assert_null(look(&s, b)->stale);
    assert_int_equal(look(&s, c)->status, STATUS_UNSUPPORTED);
    assert_string_equal(look(&s, c)->stale, "worker build");
    // Where nothing else is known, it is what is known.
    assert_int_equal(look(&s, d)->status, STATUS_UNSUPPORTED);
    assert_null(look(&s, d)->stale);
    close_scene(&s);
}

static void another_machine_makes_results_stale(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "batch=2", NULL);
    folder_fact(folder_attempt(&s.folder, a, STATUS_OK, 10, MIB), "cpu", "Old CPU");
    folder_attempt(&s.folder, b, STATUS_OK, 10, MIB);
    assert_string_equal(look(&s, a)->stale, "machine");
    assert_null(look(&s, b)->stale);
    close_scene(&s);
}

static void cells_without_a_record_say_why(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    size_t b = folder_cell(&s.folder, "b", "b", "batch=2", "too large");
    size_t c = folder_cell(&s.folder, "c", "c", "batch=3", NULL);
    size_t d = folder_cell(&s.folder, "d", "d", "batch=4", NULL);
    folder_broken_attempt(&s.folder, c, "torn");
    folder_broken_attempt(&s.folder, d, NULL);
    assert_int_equal(look(&s, a)->status, STATUS_NOT_RUN);
    assert_string_equal(look(&s, a)->cause, "not attempted yet");
    assert_int_equal(look(&s, b)->status, STATUS_EXCLUDED);
    assert_string_equal(look(&s, b)->cause, "too large");
    assert_int_equal(look(&s, c)->status, STATUS_LOST);
    assert_int_equal(look(&s, d)->status, STATUS_NOT_RUN);
    assert_non_null(strstr(look(&s, d)->cause, "attempt 1 is running"));
    close_scene(&s);
}

static void a_damaged_record_leaves_its_good_neighbour(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    folder_broken_attempt(&s.folder, a, "torn");
    assert_int_equal(look(&s, a)->status, STATUS_OK);
    close_scene(&s);
}

static void speedup_and_saving_are_against_the_baseline(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "base");
    size_t base = folder_cell(&s.folder, "base", "base", "", NULL);
    size_t a = folder_cell(&s.folder, "a", "a", "kernel=flash", NULL);
    folder_attempt(&s.folder, base, STATUS_OK, 100, 40 * MIB);
    folder_attempt(&s.folder, a, STATUS_OK, 150, 30 * MIB);
    assert_close(tally_metric(look(&s, base), "speedup"), 1);
    assert_close(tally_metric(look(&s, a), "speedup"), 1.5);
    assert_close(tally_metric(look(&s, a), "memory_saving_pct"), 25);
    close_scene(&s);
}

static void check_missing_baseline(
        const char *baseline, enum status status, const char *sentence) {
    struct scene s = {0};
    open_scene(&s, baseline);
    size_t base = folder_cell(&s.folder, "base", "base/batch=1", "batch=1", NULL);
    size_t other = folder_cell(&s.folder, "many", "many/batch=2", "batch=2", NULL);
    folder_cell(&s.folder, "many", "many/batch=3", "batch=3", NULL);
    folder_attempt(&s.folder, base, status, 0, MIB);
    folder_attempt(&s.folder, other, STATUS_OK, 10, MIB);
    assert_true(isnan(tally_metric(look(&s, other), "speedup")));
    if (sentence) {
        assert_string_equal(s.tallies.baseline_missing, sentence);
    }
    close_scene(&s);
}

static void a_missing_baseline_leaves_speedups_empty_and_says_why(void **state) {
    (void)state;
    check_missing_baseline("", STATUS_OK, "the matrix names no baseline");
    check_missing_baseline(
            "nosuch", STATUS_OK, "the baseline 'nosuch' names no cell that runs");
    check_missing_baseline(
            "many", STATUS_OK, "the baseline 'many' names 2 cells, it takes one");
    check_missing_baseline(
            "base", STATUS_HANG, "the baseline 'base/batch=1' ended hang");
    // A speed of 0 is no ground for a ratio.
    check_missing_baseline("base", STATUS_OK, NULL);
}

static void scaling_holds_ranks_against_the_like_one_rank_cell(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t one = folder_cell(&s.folder, "x", "one", "threads=1 kernel=flash", NULL);
    size_t other = folder_cell(&s.folder, "x", "other", "threads=1", NULL);
    size_t two = folder_cell(&s.folder, "x", "two",
            "threads=1 kernel=flash ranks=2 ddp=bucketed bucket_mb=1", NULL);
    folder_attempt(&s.folder, one, STATUS_OK, 100, 10 * MIB);
    folder_attempt(&s.folder, other, STATUS_OK, 50, 20 * MIB);
    folder_attempt(&s.folder, two, STATUS_OK, 180, 11 * MIB);
    const struct tally *t = look(&s, two);
    assert_ptr_equal(t->scaling_base, look(&s, one));
    assert_string_equal(t->scaling, "weak");
    assert_close(tally_metric(t, "scaling_efficiency"), 0.9);
    assert_close(tally_metric(t, "memory_overhead_bytes"), MIB);
    assert_close(tally_metric(t, "memory_overhead_pct"), 10);
    assert_true(isnan(tally_metric(look(&s, one), "scaling_efficiency")));
    close_scene(&s);
}

static size_t add_on(
        struct scene *s, const char *id, const char *settings, int gpu, double tps) {
    size_t at = folder_cell(&s->folder, "x", id, settings, NULL);
    folder_on_gpus(folder_attempt(&s->folder, at, STATUS_OK, tps, MIB), gpu);
    return at;
}

static void ranks_are_held_against_what_each_gpu_does_alone(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    const char *pair = "threads=1 ranks=2 ddp=flat";
    size_t seventh = add_on(&s, "seventh", "threads=1 first_gpu=7", 7, 40);
    size_t second = add_on(&s, "second", "threads=1 first_gpu=1", 1, 80);
    size_t first = add_on(&s, "first", "threads=1", 0, 100);
    add_on(&s, "threads", "threads=2 first_gpu=3", 3, 10);
    size_t two = add_on(&s, "two", pair, 0, 171);
    size_t rest = add_on(&s, "rest", "threads=1 ranks=2 ddp=flat first_gpu=1", 1, 144);
    size_t late = add_on(&s, "late", "threads=1 ranks=2 ddp=flat first_gpu=6", 6, 72);
    size_t away = add_on(&s, "away", "threads=1 ranks=2 ddp=flat first_gpu=3", 3, 160);
    const struct tally *t = look(&s, two);
    assert_ptr_equal(t->scaling_base, look(&s, first));
    assert_close(tally_metric(t, "scaling_efficiency"), 0.95);
    // One that nothing ran on counts as the first that has a cell.
    t = look(&s, rest);
    assert_ptr_equal(t->scaling_base, look(&s, second));
    assert_close(tally_metric(t, "scaling_efficiency"), 0.9);
    t = look(&s, late);
    assert_ptr_equal(t->scaling_base, look(&s, seventh));
    assert_close(tally_metric(t, "scaling_efficiency"), 0.9);
    // Where none has, the first of all serves.
    t = look(&s, away);
    assert_ptr_equal(t->scaling_base, look(&s, first));
    assert_close(tally_metric(t, "scaling_efficiency"), 0.8);
    close_scene(&s);
}

// By the GPUs that they had, not by the number that was asked for among --devices.
static void gpus_are_those_that_the_records_name(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t one = add_on(&s, "one", "threads=1", 3, 50);
    size_t other = add_on(&s, "other", "threads=1 first_gpu=1", 0, 100);
    size_t two = add_on(&s, "two", "threads=1 ranks=2 ddp=flat", 0, 180);
    const struct tally *t = look(&s, two);
    assert_ptr_not_equal(t->scaling_base, look(&s, one));
    assert_ptr_equal(t->scaling_base, look(&s, other));
    assert_close(tally_metric(t, "scaling_efficiency"), 0.9);
    close_scene(&s);
}

static void strong_scaling_is_told_from_weak(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t one = folder_cell(&s.folder, "x", "one", "threads=1 global_batch=8", NULL);
    size_t two = folder_cell(
            &s.folder, "x", "two", "threads=1 global_batch=8 ranks=2 ddp=naive", NULL);
    folder_attempt(&s.folder, one, STATUS_OK, 100, MIB);
    folder_attempt(&s.folder, two, STATUS_OK, 150, MIB);
    assert_string_equal(look(&s, two)->scaling, "strong");
    assert_close(tally_metric(look(&s, two), "scaling_efficiency"), 0.75);
    close_scene(&s);
}

static void check_no_efficiency(
        const char *settings, enum status status, const char *reason) {
    struct scene s = {0};
    open_scene(&s, "");
    size_t one = folder_cell(&s.folder, "x", "one", settings, NULL);
    size_t two = folder_cell(&s.folder, "x", "two", "ranks=2 ddp=naive", NULL);
    folder_attempt(&s.folder, one, status, 100, MIB);
    folder_attempt(&s.folder, two, STATUS_OK, 150, MIB);
    assert_true(isnan(tally_metric(look(&s, two), "scaling_efficiency")));
    assert_true(isnan(tally_metric(look(&s, two), "memory_overhead_bytes")));
    assert_string_equal(look(&s, two)->scaling_missing, reason);
    close_scene(&s);
}

static void without_a_fair_one_rank_cell_there_is_no_efficiency(void **state) {
    (void)state;
    check_no_efficiency(
            "batch=3", STATUS_OK, "the matrix has no such cell with ranks=1, ddp=none");
    check_no_efficiency("", STATUS_CRASHED, "its one-rank cell 'one' ended crashed");
    // On 2 cores, one rank gets two threads by default and each of two ranks one.
    check_no_efficiency("", STATUS_OK,
            "its one-rank cell 'one' ran on 2 threads, each rank here on 1; set "
            "threads");
}

static const char h100[] = "NVIDIA H100 80GB HBM3";

static struct record *add_trained(
        struct folder *f, size_t cell, const char *device, double tps) {
    struct record *r = folder_attempt(f, cell, STATUS_OK, tps, MIB);
    folder_fact(r, "device", device);
    folder_metric(r, "flops_per_token", 1e9);
    return r;
}

static void mfu_is_a_share_of_all_ranks_peaks_for_the_precision(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t one = folder_cell(&s.folder, "one", "one", "precision=bf16", NULL);
    size_t two = folder_cell(
            &s.folder, "two", "two", "precision=fp32 ranks=2 ddp=naive", NULL);
    folder_metric(
            add_trained(&s.folder, one, h100, 494700), "hfu_flops_per_token", 1.5e9);
    add_trained(&s.folder, two, h100, 13380);
    assert_close(tally_metric(look(&s, one), "mfu"), 0.5);
    assert_close(tally_metric(look(&s, one), "hfu"), 0.75);
    assert_null(look(&s, one)->mfu_missing);
    assert_close(tally_metric(look(&s, two), "mfu"), 0.1);
    assert_true(isnan(tally_metric(look(&s, two), "hfu")));
    close_scene(&s);
}

static void without_a_known_peak_there_is_no_mfu(void **state) {
    (void)state;
    struct scene s = {0};
    open_scene(&s, "");
    size_t cpu = folder_cell(&s.folder, "a", "a", "batch=1", NULL);
    size_t silent = folder_cell(&s.folder, "b", "b", "batch=2", NULL);
    size_t mute = folder_cell(&s.folder, "c", "c", "batch=3", NULL);
    size_t failed = folder_cell(&s.folder, "d", "d", "batch=4", NULL);
    add_trained(&s.folder, cpu, "Intel(R) Xeon(R)", 100);
    add_trained(&s.folder, silent, "", 100);
    folder_fact(folder_attempt(&s.folder, mute, STATUS_OK, 100, MIB), "device", h100);
    add_trained(&s.folder, failed, h100, 100)->status = STATUS_FAILED;
    assert_string_equal(
            look(&s, cpu)->mfu_missing, "no dense peak is known of 'Intel(R) Xeon(R)'");
    assert_string_equal(look(&s, silent)->mfu_missing, "the record names no device");
    assert_string_equal(
            look(&s, mute)->mfu_missing, "the worker tells no flops_per_token");
    assert_null(look(&s, failed)->mfu_missing);
    for (size_t i = 0; i < 4; i++) {
        assert_true(isnan(tally_metric(look(&s, i), "mfu")));
    }
    close_scene(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(repeats_give_their_median_and_range),
            cmocka_unit_test(only_the_newest_attempts_count_when_run_afresh),
            cmocka_unit_test(what_ran_under_a_profiler_is_shown_and_never_used),
            cmocka_unit_test(one_attempt_takes_its_noise_from_its_steps),
            cmocka_unit_test(an_interrupted_repeat_does_not_undo_the_others),
            cmocka_unit_test(a_failed_repeat_is_remarked_on),
            cmocka_unit_test(a_failure_names_rank_phase_signal_and_bytes),
            cmocka_unit_test(stale_results_stay_apart_from_fresh_ones),
            cmocka_unit_test(a_missing_peer_outdates_nothing),
            cmocka_unit_test(another_machine_makes_results_stale),
            cmocka_unit_test(cells_without_a_record_say_why),
            cmocka_unit_test(a_damaged_record_leaves_its_good_neighbour),
            cmocka_unit_test(speedup_and_saving_are_against_the_baseline),
            cmocka_unit_test(a_missing_baseline_leaves_speedups_empty_and_says_why),
            cmocka_unit_test(scaling_holds_ranks_against_the_like_one_rank_cell),
            cmocka_unit_test(ranks_are_held_against_what_each_gpu_does_alone),
            cmocka_unit_test(gpus_are_those_that_the_records_name),
            cmocka_unit_test(strong_scaling_is_told_from_weak),
            cmocka_unit_test(without_a_fair_one_rank_cell_there_is_no_efficiency),
            cmocka_unit_test(mfu_is_a_share_of_all_ranks_peaks_for_the_precision),
            cmocka_unit_test(without_a_known_peak_there_is_no_mfu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
