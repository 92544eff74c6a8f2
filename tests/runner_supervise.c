/* How a supervised worker ends: well, by a signal, an exit, or what it declares. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/helpers/attempt.h"

static void worker_that_succeeds_is_ok(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "ok");
    attempt_run(a, STATUS_OK);
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
    attempt_tell(a, "noop");
    attempt_run(a, STATUS_OK);
}

static void worker_finds_the_environment_it_was_promised(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "environment");
    attempt_ranks(a, "2");
    attempt_run(a, STATUS_OK);
    assert_int_equal(a->record.rank_count, 2);
    // Summed over ranks, divided by the slowest rank's time.
    assert_true(record_metric(&a->record, "tokens_per_s") == 4000.0);
}

static void megabytes_of_output_are_ok(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "chatty");
    attempt_run(a, STATUS_OK);
    assert_int_equal(a->record.last_step, 4999);
}

static void worker_that_segfaults_has_crashed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "segv");
    attempt_run(a, STATUS_CRASHED);
    assert_int_equal(a->record.signal, SIGSEGV);
    assert_int_equal(a->record.exit_code, -1);
    assert_int_equal(a->record.guilty_rank, 0);
    assert_int_equal(a->record.last_step, 1);
}

static void worker_that_aborts_has_crashed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "abort");
    attempt_run(a, STATUS_CRASHED);
    assert_int_equal(a->record.signal, SIGABRT);
}

static void worker_killed_from_outside_has_crashed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "killed");
    attempt_run(a, STATUS_CRASHED);
    assert_int_equal(a->record.signal, SIGKILL);
}

static void worker_that_exits_has_failed_and_keeps_its_last_words(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "exit");
    attempt_run(a, STATUS_FAILED);
    assert_int_equal(a->record.exit_code, 3);
    assert_int_equal(a->record.signal, 0);
    assert_string_equal(a->record.stderr_tail, "the last words of a failing worker\n");
}

static void worker_without_its_device_is_unsupported(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "absent");
    attempt_run(a, STATUS_UNSUPPORTED);
}

static void worker_that_exits_without_result_has_failed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "no_result");
    attempt_run(a, STATUS_FAILED);
    assert_int_equal(a->record.exit_code, 0);
}

static void declared_errors_decide_the_status(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "invalid");
    attempt_run(a, STATUS_INVALID);
    assert_int_equal(a->record.last_step, 7);
    assert_string_equal(a->record.error, "the loss of step 7 is not finite");
}

static void declared_out_of_memory_keeps_its_bytes(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "oom");
    attempt_run(a, STATUS_OOM_HOST);
    assert_int_equal(a->record.bytes_asked, 4096);
    assert_int_equal(a->record.bytes_free, 1024);
    assert_true(a->record.predicted);
}

static void device_out_of_memory_is_recorded_like_the_hosts(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "oom_device");
    attempt_run(a, STATUS_OOM_DEVICE);
    assert_int_equal(a->record.bytes_asked, 8192);
    assert_int_equal(a->record.bytes_free, 2048);
    assert_false(a->record.predicted);
    assert_string_equal(a->record.phase, "measure");
    assert_int_equal(a->record.last_step, 1);
    assert_string_equal(a->record.error, "device memory: out of memory");
}

static void fault_of_the_device_is_a_crash_without_a_signal(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "device_fault");
    attempt_run(a, STATUS_CRASHED);
    assert_int_equal(a->record.signal, 0);
    assert_int_equal(a->record.exit_code, 1);
    assert_string_equal(a->record.error, "an illegal memory access was encountered");
}

static void worker_cannot_declare_itself_ok_by_an_error(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "claims_ok");
    attempt_run(a, STATUS_FAILED);
}

static void memory_limit_reaches_the_worker(void **state) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); // their shadow memory alone is beyond any limit
#endif
    struct attempt *a = *state;
    attempt_tell(a, "allocate");
    attempt_set(a, PARAM_MEMORY_LIMIT, "64MiB");
    attempt_run(a, STATUS_OOM_HOST);
}

static void missing_worker_has_failed_with_its_name(void **state) {
    struct attempt *a = *state;
    free(a->spec.worker[0]);
    a->spec.worker[0] = text_copy("/nonexistent/worker");
    attempt_run(a, STATUS_FAILED);
    assert_non_null(strstr(a->record.error, "/nonexistent/worker"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            ATTEMPT_TEST(worker_that_succeeds_is_ok),
            ATTEMPT_TEST(worker_without_steps_is_ok),
            ATTEMPT_TEST(worker_finds_the_environment_it_was_promised),
            ATTEMPT_TEST(megabytes_of_output_are_ok),
            ATTEMPT_TEST(worker_that_segfaults_has_crashed),
            ATTEMPT_TEST(worker_that_aborts_has_crashed),
            ATTEMPT_TEST(worker_killed_from_outside_has_crashed),
            ATTEMPT_TEST(worker_that_exits_has_failed_and_keeps_its_last_words),
            ATTEMPT_TEST(worker_without_its_device_is_unsupported),
            ATTEMPT_TEST(worker_that_exits_without_result_has_failed),
            ATTEMPT_TEST(declared_errors_decide_the_status),
            ATTEMPT_TEST(declared_out_of_memory_keeps_its_bytes),
            ATTEMPT_TEST(device_out_of_memory_is_recorded_like_the_hosts),
            ATTEMPT_TEST(fault_of_the_device_is_a_crash_without_a_signal),
            ATTEMPT_TEST(worker_cannot_declare_itself_ok_by_an_error),
            ATTEMPT_TEST(memory_limit_reaches_the_worker),
            ATTEMPT_TEST(missing_worker_has_failed_with_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
