/*
 * The supervisor end to end: `runner supervise` over a worker that misbehaves in every
 * way we know, in one folder per test; what it leaves behind is read from record.json.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "matrix/file.h"
#include "matrix/owner.h"
#include "matrix/record.h"
#include "matrix/spec.h"
#include "runner/cgroup.h"
#include "runner/child.h"
#include "runner/family.h"
#include "runner/folder.h"

struct attempt {
    char folder[64];
    struct spec spec;
    struct record record;
    char *supervise[4];
};

static char runner_path[4096], worker_path[4096];

static int set_up(void **state) {
    struct attempt *a = text_allocate_zeroed(1, sizeof *a);
    const char *build = getenv("LM_BUILD");
    snprintf(runner_path, sizeof runner_path, "%s/runner", build ? build : "build");
    snprintf(worker_path, sizeof worker_path, "%s/tests/misbehave",
            build ? build : "build");
    snprintf(a->folder, sizeof a->folder, "/tmp/lm_supervise_XXXXXX");
    assert_non_null(mkdtemp(a->folder));
    a->spec.matrix = text_copy("test");
    a->spec.cell = text_copy("test");
    snprintf(a->spec.hash, sizeof a->spec.hash, "0123456789ab");
    a->spec.attempt = 1;
    a->spec.expect = -1;
    a->spec.worker = text_allocate_zeroed(2, sizeof *a->spec.worker);
    a->spec.worker[0] = text_copy(worker_path);
    params_init(&a->spec.params);
    *state = a;
    return 0;
}

static int tear_down(void **state) {
    struct attempt *a = *state;
    struct text err = {0};
    record_finish(&a->record);
    spec_finish(&a->spec);
    assert_true(folder_remove(a->folder, &err));
    free(a);
    return 0;
}

static void set(struct attempt *a, enum param which, const char *value) {
    struct text err = {0};
    if (!params_set(&a->spec.params, which, value, &err)) {
        fail_msg("%s", text_get(&err));
    }
}

static void tell(struct attempt *a, const char *act, int guilty_rank) {
    char env[160];
    if (guilty_rank >= 0) {
        snprintf(env, sizeof env, "{\"MISBEHAVE\":\"%s\",\"MISBEHAVE_RANK\":\"%d\"}",
                act, guilty_rank);
        set(a, PARAM_RANKS, "2");
        set(a, PARAM_DDP, "naive");
    } else {
        snprintf(env, sizeof env, "{\"MISBEHAVE\":\"%s\"}", act);
    }
    set(a, PARAM_ENV, env);
}

static void path_of(const struct attempt *a, const char *name, char out[128]) {
    snprintf(out, 128, "%s/%s", a->folder, name);
}

static struct child start(struct attempt *a) {
    struct text err = {0};
    char path[128];
    path_of(a, "spec.json", path);
    assert_true(spec_write(path, &a->spec, &err));
    char *none[] = {NULL};
    char **environment = child_make_environment(none);
    a->supervise[0] = runner_path;
    a->supervise[1] = "supervise";
    a->supervise[2] = a->folder;
    struct child_spec spec = {.argv = a->supervise,
            .envp = environment,
            .stdin_fd = -1,
            .stdout_fd = -1,
            .stderr_fd = STDERR_FILENO,
            .cgroup_fd = -1};
    struct child c;
    if (!child_start(&c, &spec, &err)) {
        fail_msg("%s", text_get(&err));
    }
    child_free_environment(environment);
    return c;
}

/* Nothing that the attempt started may be alive, wherever it went. */
static void nothing_is_left(struct attempt *a) {
    struct owner o = {0};
    struct text err = {0};
    char path[128];
    path_of(a, "owner.json", path);
    assert_true(owner_read(path, &o, &err));
    assert_int_equal(family_kill_nonce(o.nonce, 1000), 0);
    if (o.cgroup) {
        assert_int_not_equal(access(o.cgroup, F_OK), 0);
    }
    owner_finish(&o);
}

static void collect(struct attempt *a, struct child *c) {
    struct child_end end;
    struct text err = {0};
    char path[128];
    child_reap(c, &end);
    assert_int_equal(end.signal, 0);
    assert_int_equal(end.exit_code, 0);
    path_of(a, "record.json", path);
    if (!record_read(path, &a->record, &err)) {
        fail_msg("%s", text_get(&err));
    }
    nothing_is_left(a);
}

static void run(struct attempt *a) {
    struct child c = start(a);
    collect(a, &c);
}

static void ends_as(struct attempt *a, enum status status) {
    if (a->record.status != status) {
        fail_msg("status is %s (%s), expected %s", status_name(a->record.status),
                a->record.error, status_name(status));
    }
}

/* Wait until the attempt's first rank has written `bytes` bytes of events. */
static void wait_for_events(struct attempt *a, int lines) {
    char path[128];
    path_of(a, "rank0.jsonl", path);
    for (int i = 0; i < 2000; i++) {
        struct text t = {0}, ignored = {0};
        int have = 0;
        if (file_read(path, 1 << 20, &t, &ignored)) {
            for (size_t k = 0; k < t.size; k++) {
                have += t.data[k] == '\n';
            }
        }
        text_finish(&t);
        text_finish(&ignored);
        if (have >= lines) {
            return;
        }
        usleep(5000);
    }
    fail_msg("no events came");
}

static void worker_that_succeeds_is_ok(void **state) {
    struct attempt *a = *state;
    tell(a, "ok", -1);
    run(a);
    ends_as(a, STATUS_OK);
    assert_int_equal(a->record.leaked, 0);
    assert_int_equal(a->record.guilty_rank, -1);
    assert_string_equal(a->record.error, "");
    assert_int_equal(a->record.rank_count, 1);
    assert_int_equal(a->record.ranks[0].exit_code, 0);
    assert_true(a->record.ranks[0].max_rss_bytes > 0);
    assert_true(record_metric(&a->record, "tokens_per_s") == 2000.0);
    assert_true(record_metric(&a->record, "peak_bytes") == 1048576.0);
}

static void worker_without_steps_is_ok(void **state) {
    struct attempt *a = *state;
    tell(a, "noop", -1);
    run(a);
    ends_as(a, STATUS_OK);
}

static void worker_finds_the_environment_it_was_promised(void **state) {
    struct attempt *a = *state;
    tell(a, "environment", -1);
    set(a, PARAM_RANKS, "2");
    set(a, PARAM_DDP, "naive");
    run(a);
    ends_as(a, STATUS_OK);
    assert_int_equal(a->record.rank_count, 2);
    // Summed over ranks, divided by the slowest rank's time.
    assert_true(record_metric(&a->record, "tokens_per_s") == 4000.0);
}

static void worker_that_segfaults_has_crashed(void **state) {
    struct attempt *a = *state;
    tell(a, "segv", -1);
    run(a);
    ends_as(a, STATUS_CRASHED);
    assert_int_equal(a->record.signal, SIGSEGV);
    assert_int_equal(a->record.exit_code, -1);
    assert_int_equal(a->record.guilty_rank, 0);
    assert_int_equal(a->record.last_step, 1);
}

static void worker_that_aborts_has_crashed(void **state) {
    struct attempt *a = *state;
    tell(a, "abort", -1);
    run(a);
    ends_as(a, STATUS_CRASHED);
    assert_int_equal(a->record.signal, SIGABRT);
}

static void worker_killed_from_outside_has_crashed(void **state) {
    struct attempt *a = *state;
    tell(a, "killed", -1);
    run(a);
    ends_as(a, STATUS_CRASHED);
    assert_int_equal(a->record.signal, SIGKILL);
}

static void worker_that_exits_has_failed_and_keeps_its_last_words(void **state) {
    struct attempt *a = *state;
    tell(a, "exit", -1);
    run(a);
    ends_as(a, STATUS_FAILED);
    assert_int_equal(a->record.exit_code, 3);
    assert_int_equal(a->record.signal, 0);
    assert_string_equal(a->record.stderr_tail, "the last words of a failing worker\n");
}

static void worker_without_its_device_is_unsupported(void **state) {
    struct attempt *a = *state;
    tell(a, "absent", -1);
    run(a);
    ends_as(a, STATUS_UNSUPPORTED);
}

static void worker_that_exits_without_result_has_failed(void **state) {
    struct attempt *a = *state;
    tell(a, "no_result", -1);
    run(a);
    ends_as(a, STATUS_FAILED);
    assert_int_equal(a->record.exit_code, 0);
}

static void garbage_in_the_event_file_has_failed(void **state) {
    struct attempt *a = *state;
    tell(a, "garbage", -1);
    run(a);
    ends_as(a, STATUS_FAILED);
    assert_int_equal(a->record.guilty_rank, 0);
}

static void torn_last_event_has_failed(void **state) {
    struct attempt *a = *state;
    tell(a, "torn", -1);
    run(a);
    ends_as(a, STATUS_FAILED);
}

static void endless_event_line_has_failed(void **state) {
    struct attempt *a = *state;
    tell(a, "long_line", -1);
    run(a);
    ends_as(a, STATUS_FAILED);
    struct stat st;
    char path[128];
    path_of(a, "rank0.jsonl", path);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < 1 << 20);
}

static void unknown_protocol_has_failed(void **state) {
    struct attempt *a = *state;
    tell(a, "protocol", -1);
    run(a);
    ends_as(a, STATUS_FAILED);
    assert_non_null(strstr(a->record.error, "99"));
}

static void worker_that_skips_hello_has_failed(void **state) {
    struct attempt *a = *state;
    tell(a, "no_hello", -1);
    run(a);
    ends_as(a, STATUS_FAILED);
}

static void worker_that_falls_silent_hangs(void **state) {
    struct attempt *a = *state;
    tell(a, "hang", -1);
    set(a, PARAM_HEARTBEAT_S, "0.2");
    run(a);
    ends_as(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, 0);
    assert_int_equal(a->record.last_step, 1);
    assert_string_equal(a->record.phase, "measure");
}

static void worker_that_never_starts_hangs(void **state) {
    struct attempt *a = *state;
    tell(a, "never_starts", -1);
    set(a, PARAM_START_S, "0.2");
    run(a);
    ends_as(a, STATUS_HANG);
    assert_int_equal(a->record.last_step, -1);
}

static void worker_that_ignores_sigterm_is_killed(void **state) {
    struct attempt *a = *state;
    tell(a, "stubborn", -1);
    set(a, PARAM_HEARTBEAT_S, "30");
    set(a, PARAM_TIMEOUT_S, "0.4");
    run(a);
    ends_as(a, STATUS_TIMEOUT);
    assert_int_equal(a->record.ranks[0].signal, SIGKILL);
    assert_true(a->record.wall_ms >= 5000); // it had its grace
}

static void silent_worker_is_given_no_grace(void **state) {
    struct attempt *a = *state;
    tell(a, "stubborn", -1);
    set(a, PARAM_HEARTBEAT_S, "0.2");
    run(a);
    ends_as(a, STATUS_HANG);
    assert_int_equal(a->record.ranks[0].signal, SIGKILL);
    assert_true(a->record.wall_ms < 4000);
}

static void worker_without_end_times_out(void **state) {
    struct attempt *a = *state;
    tell(a, "stall", -1);
    set(a, PARAM_HEARTBEAT_S, "30");
    set(a, PARAM_TIMEOUT_S, "0.4");
    run(a);
    ends_as(a, STATUS_TIMEOUT);
    assert_int_equal(a->record.last_step, 3);
}

static void what_a_worker_says_when_told_to_stop_is_not_held_against_it(void **state) {
    struct attempt *a = *state;
    tell(a, "polite", -1);
    set(a, PARAM_HEARTBEAT_S, "30");
    set(a, PARAM_TIMEOUT_S, "0.4");
    run(a);
    ends_as(a, STATUS_TIMEOUT);
    assert_int_equal(a->record.ranks[0].exit_code, 1); // it left by itself
}

static void slow_start_within_its_limit_is_ok(void **state) {
    struct attempt *a = *state;
    tell(a, "slow_start", -1);
    set(a, PARAM_START_S, "60");
    set(a, PARAM_HEARTBEAT_S, "60");
    run(a);
    ends_as(a, STATUS_OK);
}

static void megabytes_of_output_are_ok(void **state) {
    struct attempt *a = *state;
    tell(a, "chatty", -1);
    run(a);
    ends_as(a, STATUS_OK);
    assert_int_equal(a->record.last_step, 4999);
}

static void declared_errors_decide_the_status(void **state) {
    struct attempt *a = *state;
    tell(a, "invalid", -1);
    run(a);
    ends_as(a, STATUS_INVALID);
    assert_int_equal(a->record.last_step, 7);
    assert_string_equal(a->record.error, "the loss of step 7 is not finite");
}

static void declared_out_of_memory_keeps_its_bytes(void **state) {
    struct attempt *a = *state;
    tell(a, "oom", -1);
    run(a);
    ends_as(a, STATUS_OOM_HOST);
    assert_int_equal(a->record.bytes_asked, 4096);
    assert_int_equal(a->record.bytes_free, 1024);
    assert_true(a->record.predicted);
}

static void device_out_of_memory_is_recorded_like_the_hosts(void **state) {
    struct attempt *a = *state;
    tell(a, "oom_device", -1);
    run(a);
    ends_as(a, STATUS_OOM_DEVICE);
    assert_int_equal(a->record.bytes_asked, 8192);
    assert_int_equal(a->record.bytes_free, 2048);
    assert_false(a->record.predicted);
    assert_string_equal(a->record.phase, "measure");
    assert_int_equal(a->record.last_step, 1);
    assert_string_equal(a->record.error, "device memory: out of memory");
}

static void fault_of_the_device_is_a_crash_without_a_signal(void **state) {
    struct attempt *a = *state;
    tell(a, "device_fault", -1);
    run(a);
    ends_as(a, STATUS_CRASHED);
    assert_int_equal(a->record.signal, 0);
    assert_int_equal(a->record.exit_code, 1);
    assert_string_equal(a->record.error, "an illegal memory access was encountered");
}

static void worker_cannot_declare_itself_ok_by_an_error(void **state) {
    struct attempt *a = *state;
    tell(a, "claims_ok", -1);
    run(a);
    ends_as(a, STATUS_FAILED);
}

static void error_before_a_hang_is_the_cause(void **state) {
    struct attempt *a = *state;
    tell(a, "error_then_hang", -1);
    run(a);
    ends_as(a, STATUS_OOM_DEVICE);
}

static void memory_limit_reaches_the_worker(void **state) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); // their shadow memory alone is beyond any limit
#endif
    struct attempt *a = *state;
    tell(a, "allocate", -1);
    set(a, PARAM_MEMORY_LIMIT, "64MiB");
    run(a);
    ends_as(a, STATUS_OOM_HOST);
}

static void orphan_in_its_own_session_is_found_and_killed(void **state) {
    struct attempt *a = *state;
    tell(a, "orphan", -1);
    run(a);
    ends_as(a, STATUS_OK);
    assert_int_equal(a->record.leaked, 1);
}

static void daemon_that_forked_twice_is_found_and_killed(void **state) {
    struct attempt *a = *state;
    tell(a, "daemon", -1);
    run(a);
    ends_as(a, STATUS_OK);
    assert_int_equal(a->record.leaked, 1);
}

static void crash_of_one_rank_names_it_and_ends_the_other(void **state) {
    struct attempt *a = *state;
    tell(a, "segv", 1);
    run(a);
    ends_as(a, STATUS_CRASHED);
    assert_int_equal(a->record.guilty_rank, 1);
    assert_false(a->record.ranks[1].collateral);
    assert_true(a->record.ranks[0].collateral);
    assert_int_equal(a->record.ranks[0].signal, SIGKILL);
    assert_int_equal(a->record.ranks[1].signal, SIGSEGV);
}

static void silent_rank_is_named_though_the_other_goes_on(void **state) {
    struct attempt *a = *state;
    tell(a, "hang", 1);
    set(a, PARAM_HEARTBEAT_S, "0.5");
    run(a);
    ends_as(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, 1);
}

static void ranks_that_wait_for_a_silent_one_are_not_named(void **state) {
    struct attempt *a = *state;
    tell(a, "awaited", -1);
    set(a, PARAM_RANKS, "3");
    set(a, PARAM_DDP, "naive");
    set(a, PARAM_HEARTBEAT_S, "1");
    run(a);
    ends_as(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, 2);
}

static void ranks_that_wait_for_each_other_hang_and_none_is_named(void **state) {
    struct attempt *a = *state;
    tell(a, "deadlock", -1);
    set(a, PARAM_RANKS, "2");
    set(a, PARAM_DDP, "naive");
    set(a, PARAM_HEARTBEAT_S, "0.5");
    run(a);
    ends_as(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, -1);
}

static void rank_that_waits_through_a_slow_start_is_not_named(void **state) {
    struct attempt *a = *state;
    // Rank 1 is silent, and the other, which goes on for ever, has made its step.
    tell(a, "never_starts", 1);
    set(a, PARAM_START_S, "0.5");
    set(a, PARAM_HEARTBEAT_S, "60");
    run(a);
    ends_as(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, 1);
}

static void who_blames_a_dying_peer_is_believed(void **state) {
    struct attempt *a = *state;
    tell(a, "blame", -1);
    set(a, PARAM_RANKS, "2");
    set(a, PARAM_DDP, "naive");
    run(a);
    ends_as(a, STATUS_CRASHED);
    assert_int_equal(a->record.guilty_rank, 1);
    assert_int_equal(a->record.signal, SIGKILL);
    assert_false(a->record.ranks[0].collateral);
}

static void early_exit_of_one_rank_without_result_has_failed(void **state) {
    struct attempt *a = *state;
    tell(a, "no_result", 0);
    run(a);
    ends_as(a, STATUS_FAILED);
    assert_int_equal(a->record.guilty_rank, 0);
}

static void missing_worker_has_failed_with_its_name(void **state) {
    struct attempt *a = *state;
    free(a->spec.worker[0]);
    a->spec.worker[0] = text_copy("/nonexistent/worker");
    run(a);
    ends_as(a, STATUS_FAILED);
    assert_non_null(strstr(a->record.error, "/nonexistent/worker"));
}

static void sigterm_is_recorded_as_interrupted(void **state) {
    struct attempt *a = *state;
    tell(a, "stall", -1);
    struct child c = start(a);
    wait_for_events(a, 3);
    child_signal(&c, SIGTERM);
    collect(a, &c);
    ends_as(a, STATUS_INTERRUPTED);
}

static void second_sigterm_does_not_wait_for_the_stubborn(void **state) {
    struct attempt *a = *state;
    tell(a, "stubborn", -1);
    struct child c = start(a);
    wait_for_events(a, 3);
    child_signal(&c, SIGTERM);
    usleep(100000); // two pending signals of one kind would be one
    child_signal(&c, SIGTERM);
    collect(a, &c);
    ends_as(a, STATUS_INTERRUPTED);
    assert_int_equal(a->record.ranks[0].signal, SIGKILL);
    assert_true(a->record.wall_ms < 4000);
}

static void killed_supervisor_takes_its_ranks_along(void **state) {
    struct attempt *a = *state;
    struct text err = {0};
    struct owner o = {0};
    char path[128];
    assert_true(family_adopt_orphans(&err));
    tell(a, "orphan", 0); // rank 0 leaves an orphan, rank 1 goes on
    set(a, PARAM_HEARTBEAT_S, "60");
    struct child c = start(a);
    wait_for_events(a, 4);
    child_signal(&c, SIGKILL);
    struct child_end end;
    child_reap(&c, &end);
    assert_int_equal(end.signal, SIGKILL);
    // The ranks die by their parent-death signal, the orphan has become ours.
    assert_true(family_kill_all(NULL, 0, 5000) >= 1);
    path_of(a, "owner.json", path);
    assert_true(owner_read(path, &o, &err));
    assert_int_equal(family_kill_nonce(o.nonce, 1000), 0);
    // Its cgroup is left to the runner, whose part this test plays.
    if (o.cgroup) {
        cgroup_destroy_path(o.cgroup);
        assert_int_not_equal(access(o.cgroup, F_OK), 0);
    }
    owner_finish(&o);
}

static void full_disk_is_one_sentence_and_no_process(void **state) {
    struct attempt *a = *state;
    tell(a, "stall", -1);
    char path[128];
    path_of(a, "rank0.jsonl", path);
    assert_int_equal(symlink("/dev/full", path), 0);
    run(a);
    ends_as(a, STATUS_FAILED);
    assert_non_null(strstr(a->record.error, "No space left"));
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
            T(worker_that_succeeds_is_ok),
            T(worker_without_steps_is_ok),
            T(worker_finds_the_environment_it_was_promised),
            T(worker_that_segfaults_has_crashed),
            T(worker_that_aborts_has_crashed),
            T(worker_killed_from_outside_has_crashed),
            T(worker_that_exits_has_failed_and_keeps_its_last_words),
            T(worker_without_its_device_is_unsupported),
            T(worker_that_exits_without_result_has_failed),
            T(garbage_in_the_event_file_has_failed),
            T(torn_last_event_has_failed),
            T(endless_event_line_has_failed),
            T(unknown_protocol_has_failed),
            T(worker_that_skips_hello_has_failed),
            T(worker_that_falls_silent_hangs),
            T(worker_that_never_starts_hangs),
            T(worker_that_ignores_sigterm_is_killed),
            T(silent_worker_is_given_no_grace),
            T(worker_without_end_times_out),
            T(what_a_worker_says_when_told_to_stop_is_not_held_against_it),
            T(slow_start_within_its_limit_is_ok),
            T(megabytes_of_output_are_ok),
            T(declared_errors_decide_the_status),
            T(declared_out_of_memory_keeps_its_bytes),
            T(device_out_of_memory_is_recorded_like_the_hosts),
            T(fault_of_the_device_is_a_crash_without_a_signal),
            T(worker_cannot_declare_itself_ok_by_an_error),
            T(error_before_a_hang_is_the_cause),
            T(memory_limit_reaches_the_worker),
            T(orphan_in_its_own_session_is_found_and_killed),
            T(daemon_that_forked_twice_is_found_and_killed),
            T(crash_of_one_rank_names_it_and_ends_the_other),
            T(silent_rank_is_named_though_the_other_goes_on),
            T(ranks_that_wait_for_a_silent_one_are_not_named),
            T(ranks_that_wait_for_each_other_hang_and_none_is_named),
            T(rank_that_waits_through_a_slow_start_is_not_named),
            T(who_blames_a_dying_peer_is_believed),
            T(early_exit_of_one_rank_without_result_has_failed),
            T(missing_worker_has_failed_with_its_name),
            T(sigterm_is_recorded_as_interrupted),
            T(second_sigterm_does_not_wait_for_the_stubborn),
            T(killed_supervisor_takes_its_ranks_along),
            T(full_disk_is_one_sentence_and_no_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
