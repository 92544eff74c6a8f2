/* Workers that print more than is kept of it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "runner/output.h"
#include "tests/helpers/attempt.h"

static const off_t most_bytes = (off_t)OUTPUT_MAX_MIB << 20;

static off_t size_of(const struct attempt *a, const char *name) {
    char path[128];
    struct stat st;
    attempt_path(a, name, path);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void rank_that_prints_without_end_is_killed(void **state) {
    struct attempt *a = *state;
    attempt_tell_rank(a, "flood_stderr", 1);
    attempt_set(a, PARAM_HEARTBEAT_S, "60");
    attempt_run(a, STATUS_FAILED);
    assert_int_equal(a->record.guilty_rank, 1);
    assert_int_equal(a->record.signal, SIGKILL);
    assert_string_equal(
            a->record.error, "rank 1 wrote more than 64 MiB to its standard error");
    assert_true(size_of(a, "rank1.stderr") == most_bytes);
    assert_true(size_of(a, "rank1.stdout") == 0);
}

static void rank_that_was_done_before_anybody_looked_has_failed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "flood_and_finish");
    attempt_set(a, PARAM_HEARTBEAT_S, "60");
    attempt_run(a, STATUS_FAILED);
    assert_string_equal(
            a->record.error, "rank 0 wrote more than 64 MiB to its standard error");
    assert_true(size_of(a, "rank0.stderr") == most_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            ATTEMPT_TEST(rank_that_prints_without_end_is_killed),
            ATTEMPT_TEST(rank_that_was_done_before_anybody_looked_has_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
