/* What a worker leaves behind, and a supervisor that is told to stop or dies. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "matrix/owner.h"
#include "runner/cgroup.h"
#include "runner/family.h"
#include "tests/helpers/attempt.h"

static void orphan_in_its_own_session_is_found_and_killed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "orphan");
    attempt_run(a, STATUS_OK);
    assert_int_equal(a->record.leaked, 1);
}

static void daemon_that_forked_twice_is_found_and_killed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "daemon");
    attempt_run(a, STATUS_OK);
    assert_int_equal(a->record.leaked, 1);
}

static void sigterm_is_recorded_as_interrupted(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "stall");
    struct child c = attempt_start(a);
    attempt_await(a, 3);
    child_signal(&c, SIGTERM);
    attempt_collect(a, &c, STATUS_INTERRUPTED);
}

static void second_sigterm_does_not_wait_for_the_stubborn(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "stubborn");
    struct child c = attempt_start(a);
    attempt_await(a, 3);
    child_signal(&c, SIGTERM);
    usleep(100000); // two pending signals of one kind would be one
    child_signal(&c, SIGTERM);
    attempt_collect(a, &c, STATUS_INTERRUPTED);
    assert_int_equal(a->record.ranks[0].signal, SIGKILL);
    assert_true(a->record.wall_ms < 4000);
}

static void killed_supervisor_takes_its_ranks_along(void **state) {
    struct attempt *a = *state;
    struct text err = {0};
    struct owner o = {0};
    char path[128];
    assert_true(family_adopt_orphans(&err));
    attempt_tell_rank(a, "orphan", 0); // rank 0 leaves an orphan, rank 1 goes on
    attempt_set(a, PARAM_HEARTBEAT_S, "60");
    struct child c = attempt_start(a);
    attempt_await(a, 4);
    child_signal(&c, SIGKILL);
    struct child_end end;
    child_reap(&c, &end);
    assert_int_equal(end.signal, SIGKILL);
    // The ranks die by their parent-death signal, the orphan has become ours.
    assert_true(family_kill_all(NULL, 0, 5000) >= 1);
    attempt_path(a, "owner.json", path);
    assert_true(owner_read(path, &o, &err));
    assert_int_equal(family_kill_nonce(o.nonce, 1000), 0);
    // Its cgroup is left to the runner, whose part this test plays.
    if (o.cgroup) {
        cgroup_destroy_path(o.cgroup);
        assert_int_not_equal(access(o.cgroup, F_OK), 0);
    }
    owner_finish(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            ATTEMPT_TEST(orphan_in_its_own_session_is_found_and_killed),
            ATTEMPT_TEST(daemon_that_forked_twice_is_found_and_killed),
            ATTEMPT_TEST(sigterm_is_recorded_as_interrupted),
            ATTEMPT_TEST(second_sigterm_does_not_wait_for_the_stubborn),
            ATTEMPT_TEST(killed_supervisor_takes_its_ranks_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
