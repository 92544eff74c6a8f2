/* Which of several ranks is named when their attempt fails. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/helpers/attempt.h"

static void crash_of_one_rank_names_it_and_ends_the_other(void **state) {
    struct attempt *a = *state;
    attempt_tell_rank(a, "segv", 1);
    attempt_run(a, STATUS_CRASHED);
    assert_int_equal(a->record.guilty_rank, 1);
    assert_false(a->record.ranks[1].collateral);
    assert_true(a->record.ranks[0].collateral);
    assert_int_equal(a->record.ranks[0].signal, SIGKILL);
    assert_int_equal(a->record.ranks[1].signal, SIGSEGV);
}

static void silent_rank_is_named_though_the_other_goes_on(void **state) {
    struct attempt *a = *state;
    attempt_tell_rank(a, "hang", 1);
    attempt_set(a, PARAM_HEARTBEAT_S, "0.5");
    attempt_run(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, 1);
}

static void ranks_that_wait_for_a_silent_one_are_not_named(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "awaited");
    attempt_ranks(a, "3");
    attempt_set(a, PARAM_HEARTBEAT_S, "1");
    attempt_run(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, 2);
}

static void ranks_that_wait_for_each_other_hang_and_none_is_named(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "deadlock");
    attempt_ranks(a, "2");
    attempt_set(a, PARAM_HEARTBEAT_S, "0.5");
    attempt_run(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, -1);
}

static void rank_that_waits_through_a_slow_start_is_not_named(void **state) {
    struct attempt *a = *state;
    // Rank 1 is silent, and the other, which goes on for ever, has made its step.
    attempt_tell_rank(a, "never_starts", 1);
    attempt_set(a, PARAM_START_S, "0.5");
    attempt_set(a, PARAM_HEARTBEAT_S, "60");
    attempt_run(a, STATUS_HANG);
    assert_int_equal(a->record.guilty_rank, 1);
}

static void who_blames_a_dying_peer_is_believed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "blame");
    attempt_ranks(a, "2");
    attempt_run(a, STATUS_CRASHED);
    assert_int_equal(a->record.guilty_rank, 1);
    assert_int_equal(a->record.signal, SIGKILL);
    assert_false(a->record.ranks[0].collateral);
}

static void early_exit_of_one_rank_without_result_has_failed(void **state) {
    struct attempt *a = *state;
    attempt_tell_rank(a, "no_result", 0);
    attempt_run(a, STATUS_FAILED);
    assert_int_equal(a->record.guilty_rank, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            ATTEMPT_TEST(crash_of_one_rank_names_it_and_ends_the_other),
            ATTEMPT_TEST(silent_rank_is_named_though_the_other_goes_on),
            ATTEMPT_TEST(ranks_that_wait_for_a_silent_one_are_not_named),
            ATTEMPT_TEST(ranks_that_wait_for_each_other_hang_and_none_is_named),
            ATTEMPT_TEST(rank_that_waits_through_a_slow_start_is_not_named),
            ATTEMPT_TEST(who_blames_a_dying_peer_is_believed),
            ATTEMPT_TEST(early_exit_of_one_rank_without_result_has_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
