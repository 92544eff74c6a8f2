/* Events that a supervisor cannot use, or cannot keep, end their attempt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/helpers/attempt.h"

static void garbage_in_the_event_file_has_failed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "garbage");
    attempt_run(a, STATUS_FAILED);
    assert_int_equal(a->record.guilty_rank, 0);
}

static void torn_last_event_has_failed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "torn");
    attempt_run(a, STATUS_FAILED);
}

static void endless_event_line_has_failed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "long_line");
    attempt_run(a, STATUS_FAILED);
    struct stat st;
    char path[128];
    attempt_path(a, "rank0.jsonl", path);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < 1 << 20);
}

static void unknown_protocol_has_failed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "protocol");
    attempt_run(a, STATUS_FAILED);
    assert_non_null(strstr(a->record.error, "99"));
}

static void worker_that_skips_hello_has_failed(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "no_hello");
    attempt_run(a, STATUS_FAILED);
}

static void full_disk_is_one_sentence_and_no_process(void **state) {
    struct attempt *a = *state;
    attempt_tell(a, "stall");
    char path[128];
    attempt_path(a, "rank0.jsonl", path);
    assert_int_equal(symlink("/dev/full", path), 0);
    attempt_run(a, STATUS_FAILED);
    assert_non_null(strstr(a->record.error, "No space left"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            ATTEMPT_TEST(garbage_in_the_event_file_has_failed),
            ATTEMPT_TEST(torn_last_event_has_failed),
            ATTEMPT_TEST(endless_event_line_has_failed),
            ATTEMPT_TEST(unknown_protocol_has_failed),
            ATTEMPT_TEST(worker_that_skips_hello_has_failed),
            ATTEMPT_TEST(full_disk_is_one_sentence_and_no_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
