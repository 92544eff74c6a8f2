/* What an attempt came to, over made-up ranks: who is guilty, and of what. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runner/verdict.h"

static struct rank fresh(int number) {
    return (struct rank){.number = number,
            .started = true,
            .end = {.exit_code = -1},
            .last_step = 4,
            .error_step = -1};
}

static struct rank done(int number, int order) {
    struct rank r = fresh(number);
    r.ended = true;
    r.end.exit_code = 0;
    r.end_order = order;
    r.result = json_null(); // a singleton: counts as there, needs no freeing
    return r;
}

static struct rank exited(int number, int order, int code) {
    struct rank r = done(number, order);
    r.result = NULL;
    r.end.exit_code = code;
    return r;
}

static struct rank killed_by(int number, int order, int signal) {
    struct rank r = exited(number, order, -1);
    r.end.signal = signal;
    return r;
}

static struct rank collateral(int number, int order) {
    struct rank r = killed_by(number, order, SIGKILL);
    r.killed = true;
    return r;
}

static const struct clocks limits = {
        .start_ms = 60000, .heartbeat_ms = 10000, .timeout_ms = 100000};

static void judge(struct rank *ranks, int count, enum verdict_stop stop,
        enum clocks_strike strike, bool oom, enum status status, int guilty) {
    struct verdict_input in = {.ranks = ranks,
            .count = count,
            .stop = stop,
            .strike = strike,
            .strike_rank = 0,
            .clocks = &limits,
            .reason = "the disk is full",
            .oom_killed = oom};
    struct verdict v;
    verdict_reach(&in, &v);
    assert_string_equal(status_name(v.status), status_name(status));
    assert_int_equal(v.guilty, guilty);
    assert_int_equal(*v.error == '\0', status == STATUS_OK);
    verdict_finish(&v);
}

static void all_done_is_ok_even_when_interrupted_afterwards(void **state) {
    (void)state;
    struct rank r[] = {done(0, 1), done(1, 2)};
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_OK, -1);
    judge(r, 2, VERDICT_STOP_INTERRUPTED, CLOCKS_NONE, false, STATUS_OK, -1);
    judge(r, 2, VERDICT_STOP_ORPHANED, CLOCKS_NONE, false, STATUS_OK, -1);
}

static void crash_outweighs_the_exit_that_it_caused(void **state) {
    (void)state;
    // Rank 0 noticed its peer's death and was seen to end first.
    struct rank r[] = {exited(0, 1, 1), killed_by(1, 2, SIGSEGV)};
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_CRASHED, 1);
    r[0].has_error = true;
    r[0].error_status = STATUS_FAILED;
    r[0].error = "rank 1 is gone";
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_CRASHED, 1);
}

static void of_two_equal_failures_the_first_is_guilty(void **state) {
    (void)state;
    struct rank r[] = {exited(0, 2, 1), exited(1, 1, 1)};
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_FAILED, 1);
}

static void nobody_is_guilty_of_what_ranks_met_at_once(void **state) {
    (void)state;
    struct rank r[] = {exited(0, 2, 1), exited(1, 1, 1), collateral(2, 3)};
    for (int i = 0; i < 2; i++) {
        r[i].has_error = true;
        r[i].error_status = STATUS_INVALID;
        r[i].error = "the loss is not finite";
        r[i].error_step = 7;
    }
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_INVALID, -1);
    judge(r, 3, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_INVALID, -1);
    judge(r + 1, 1, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_INVALID, 1);
    r[0].error_step = 8;
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_INVALID, 1);
    r[0].has_error = false;
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_INVALID, 1);
}

static void collateral_ranks_are_never_guilty(void **state) {
    (void)state;
    struct rank r[] = {collateral(0, 2), exited(1, 1, 3)};
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_FAILED, 1);
    struct rank both[] = {collateral(0, 1), collateral(1, 2)};
    judge(both, 2, VERDICT_STOP_INTERRUPTED, CLOCKS_NONE, false, STATUS_INTERRUPTED,
            -1);
    judge(both, 2, VERDICT_STOP_ORPHANED, CLOCKS_NONE, false, STATUS_LOST, -1);
    judge(both, 2, VERDICT_STOP_CLOCK, CLOCKS_TIMEOUT, false, STATUS_TIMEOUT, -1);
}

static void end_before_any_rank_started_is_not_ok(void **state) {
    (void)state;
    struct rank none[1];
    judge(none, 0, VERDICT_STOP_INTERRUPTED, CLOCKS_NONE, false, STATUS_INTERRUPTED,
            -1);
    judge(none, 0, VERDICT_STOP_ORPHANED, CLOCKS_NONE, false, STATUS_LOST, -1);
}

static void sigkill_is_out_of_memory_only_where_the_kernel_says_so(void **state) {
    (void)state;
    struct rank r[] = {killed_by(0, 1, SIGKILL)};
    judge(r, 1, VERDICT_STOP_NONE, CLOCKS_NONE, true, STATUS_OOM_HOST, 0);
    judge(r, 1, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_CRASHED, 0);
    r[0].end.signal = SIGSEGV;
    judge(r, 1, VERDICT_STOP_NONE, CLOCKS_NONE, true, STATUS_CRASHED, 0);
}

static void silent_rank_is_named_unless_its_peers_are_as_silent(void **state) {
    (void)state;
    struct rank r[] = {collateral(0, 1), collateral(1, 2)};
    r[0].heard_ms = 1000;
    r[1].heard_ms = 1001;
    judge(r, 2, VERDICT_STOP_CLOCK, CLOCKS_HEARTBEAT, false, STATUS_HANG, -1);
    r[1].heard_ms = 9000;
    judge(r, 2, VERDICT_STOP_CLOCK, CLOCKS_HEARTBEAT, false, STATUS_HANG, 0);
    r[1].heard_ms = 1001;
    r[1].waiting = true;
    judge(r, 2, VERDICT_STOP_CLOCK, CLOCKS_HEARTBEAT, false, STATUS_HANG, 0);
    r[0].waiting = true;
    judge(r, 2, VERDICT_STOP_CLOCK, CLOCKS_HEARTBEAT, false, STATUS_HANG, -1);
    r[0].waiting = r[1].waiting = false;
    r[1].last_step = 5;
    judge(r, 2, VERDICT_STOP_CLOCK, CLOCKS_HEARTBEAT, false, STATUS_HANG, 0);
}

static void rank_that_is_through_is_not_the_one_that_hangs(void **state) {
    (void)state;
    // Rank 1 has sent its result, and cannot leave before its peers do.
    struct rank r[] = {collateral(0, 1), collateral(1, 2)};
    r[0].heard_ms = r[1].heard_ms = 1000;
    r[1].result = json_null();
    assert_true(verdict_is_likelier(&r[0], &r[1]));
    assert_false(verdict_is_likelier(&r[1], &r[0]));
    judge(r, 2, VERDICT_STOP_CLOCK, CLOCKS_HEARTBEAT, false, STATUS_HANG, 0);
}

static void likelier_to_hang_is_who_does_not_wait_then_who_is_behind(void **state) {
    (void)state;
    struct rank a = fresh(0), b = fresh(1);
    a.waiting = true;
    a.last_step = 3;
    assert_true(verdict_is_likelier(&b, &a));
    a.waiting = false;
    assert_true(verdict_is_likelier(&a, &b));
    a.last_step = b.last_step;
    a.heard_ms = 2;
    b.heard_ms = 1;
    assert_true(verdict_is_likelier(&b, &a));
    assert_false(verdict_is_likelier(&a, &b));
}

static void who_blames_another_is_the_cause_only_where_nobody_else_is(void **state) {
    (void)state;
    struct rank r[] = {exited(0, 1, 1), exited(1, 2, 1)};
    r[0].has_error = r[0].blames = true;
    r[0].error_status = STATUS_FAILED;
    r[0].error = "NCCL: a remote process exited";
    r[1].has_error = true;
    r[1].error_status = STATUS_FAILED;
    r[1].error = "cannot read a file";
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_FAILED, 1);
    r[1] = exited(1, 2, 1);
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_FAILED, 1);
    r[1] = collateral(1, 2);
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_FAILED, 0);
}

static void death_by_a_signal_outweighs_the_device_fault_that_it_caused(void **state) {
    (void)state;
    struct rank r[] = {exited(0, 1, 1), killed_by(1, 2, SIGSEGV)};
    r[0].has_error = true;
    r[0].error_status = STATUS_CRASHED;
    r[0].error = "an illegal memory access was encountered";
    judge(r, 2, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_CRASHED, 1);
}

static void garbage_outweighs_a_good_end(void **state) {
    (void)state;
    struct rank r[] = {done(0, 1)};
    r[0].garbage = "rank 0 wrote a line that is no event";
    judge(r, 1, VERDICT_STOP_NONE, CLOCKS_NONE, false, STATUS_FAILED, 0);
}

static void supervisor_that_cannot_go_on_says_why(void **state) {
    (void)state;
    struct rank r[] = {collateral(0, 1)};
    judge(r, 1, VERDICT_STOP_FAILED, CLOCKS_NONE, false, STATUS_FAILED, -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(all_done_is_ok_even_when_interrupted_afterwards),
            cmocka_unit_test(crash_outweighs_the_exit_that_it_caused),
            cmocka_unit_test(of_two_equal_failures_the_first_is_guilty),
            cmocka_unit_test(nobody_is_guilty_of_what_ranks_met_at_once),
            cmocka_unit_test(collateral_ranks_are_never_guilty),
            cmocka_unit_test(end_before_any_rank_started_is_not_ok),
            cmocka_unit_test(sigkill_is_out_of_memory_only_where_the_kernel_says_so),
            cmocka_unit_test(silent_rank_is_named_unless_its_peers_are_as_silent),
            cmocka_unit_test(rank_that_is_through_is_not_the_one_that_hangs),
            cmocka_unit_test(likelier_to_hang_is_who_does_not_wait_then_who_is_behind),
            cmocka_unit_test(who_blames_another_is_the_cause_only_where_nobody_else_is),
            cmocka_unit_test(
                    death_by_a_signal_outweighs_the_device_fault_that_it_caused),
            cmocka_unit_test(garbage_outweighs_a_good_end),
            cmocka_unit_test(supervisor_that_cannot_go_on_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
