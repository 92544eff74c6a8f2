/* Time limits of a supervised worker, and the grace behind them. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/helpers/attempt.h"

static void worker_that_falls_silent_hangs(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "hang");
    attempt_set(a, PARAM_HEARTBEAT_S, "0.2");
    attempt_run(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, 0);
    assert_int_equal(a->record.last_step, 1);
    assert_string_equal(a->record.phase, "measure");
}

static void worker_that_never_starts_hangs(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "never_starts");
    attempt_set(a, PARAM_START_S, "0.2");
    attempt_run(a, STATUS_HANG);
    assert_int_equal(a->record.last_step, -1);
}

static void worker_that_ignores_sigterm_is_killed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "stubborn");
    attempt_set(a, PARAM_HEARTBEAT_S, "30");
    attempt_set(a, PARAM_TIMEOUT_S, "0.4");
    attempt_run(a, STATUS_TIMEOUT);
    assert_int_equal(a->record.ranks[0].signal, SIGKILL);
    assert_true(a->record.wall_ms >= 5000); // it had its grace
}

static void silent_worker_is_given_no_grace(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "stubborn");
    attempt_set(a, PARAM_HEARTBEAT_S, "0.2");
    attempt_run(a, STATUS_HANG);
    assert_int_equal(a->record.ranks[0].signal, SIGKILL);
    assert_true(a->record.wall_ms < 4000);
}

static void worker_without_end_times_out(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "stall");
    attempt_set(a, PARAM_HEARTBEAT_S, "30");
    attempt_set(a, PARAM_TIMEOUT_S, "0.4");
    attempt_run(a, STATUS_TIMEOUT);
    assert_int_equal(a->record.last_step, 3);
}

static void what_a_worker_says_when_told_to_stop_is_not_held_against_it(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "polite");
    attempt_set(a, PARAM_HEARTBEAT_S, "30");
    attempt_set(a, PARAM_TIMEOUT_S, "0.4");
    attempt_run(a, STATUS_TIMEOUT);
    assert_int_equal(a->record.ranks[0].exit_code, 1); // it left by itself
}

static void slow_start_within_its_limit_is_ok(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "slow_start");
    attempt_set(a, PARAM_START_S, "60");
    attempt_set(a, PARAM_HEARTBEAT_S, "60");
    attempt_run(a, STATUS_OK);
}

static void error_before_a_hang_is_the_cause(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "error_then_hang");
    attempt_run(a, STATUS_OOM_DEVICE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            ATTEMPT_TEST(worker_that_falls_silent_hangs),
            ATTEMPT_TEST(worker_that_never_starts_hangs),
            ATTEMPT_TEST(worker_that_ignores_sigterm_is_killed),
            ATTEMPT_TEST(silent_worker_is_given_no_grace),
            ATTEMPT_TEST(worker_without_end_times_out),
            ATTEMPT_TEST(what_a_worker_says_when_told_to_stop_is_not_held_against_it),
            ATTEMPT_TEST(slow_start_within_its_limit_is_ok),
            ATTEMPT_TEST(error_before_a_hang_is_the_cause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
