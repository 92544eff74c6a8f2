/* Ranks that do not meet: missing ones, one that came before, others of another mind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/comm.h"

enum { DEADLINE_MS = 30000 };

static void missing_ranks_are_named_after_the_deadline(void **state) {
    (void)state;
    int fd = memfd_create("ranks", MFD_CLOEXEC);
    assert_true(fd >= 0);
    struct comm_failure failure = {0};
    struct comm_options options = {.rank = 1,
            .world = 4,
            .shm_fd = fd,
            .bytes = 64,
            .deadline_ms = 20,
            .failure = &failure};
    struct comm *c;
    struct text err = {0};
    assert_false(comm_create(&options, &c, &err));
    assert_string_equal(text_get(&err), "after 0 s still missing: rank 0, 2, 3");
    assert_true(failure.others);
    text_clear(&err);
    failure.others = false;
    assert_false(comm_create(&options, &c, &err));
    assert_string_equal(text_get(&err), "rank 1 has joined already");
    assert_false(failure.others);
    text_finish(&err);
    close(fd);
}

/* Rank 0 with `first`, in a process of its own, and rank 1 with `second`: both refuse.
 */
static void refuse_each_other(
        struct comm_options first, struct comm_options second, const char *sentence) {
    int fd = memfd_create("ranks", MFD_CLOEXEC);
    assert_true(fd >= 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    struct comm_options options = pid ? second : first;
    options.rank = pid ? 1 : 0;
    options.world = 2;
    options.shm_fd = fd;
    options.deadline_ms = DEADLINE_MS;
    struct comm *c;
    struct text err = {0};
    bool created = comm_create(&options, &c, &err);
    if (pid == 0) {
        _exit(created ? 1 : 0);
    }
    assert_false(created);
    assert_string_equal(text_get(&err), sentence);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    text_finish(&err);
    close(fd);
}

static void ranks_that_disagree_about_bytes_are_refused(void **state) {
    (void)state;
    refuse_each_other((struct comm_options){.bytes = 64},
            (struct comm_options){.bytes = 1000000},
            "rank 0 of 2 shares 64 bytes, but rank 1 of 2 shares 1000000");
}

static void ranks_of_another_attempt_are_refused(void **state) {
    (void)state;
    refuse_each_other((struct comm_options){.bytes = 64, .nonce = "yesterday"},
            (struct comm_options){.bytes = 64, .nonce = "today"},
            "rank 0 is of attempt 'yesterday', but rank 1 of 'today'");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(missing_ranks_are_named_after_the_deadline),
            cmocka_unit_test(ranks_that_disagree_about_bytes_are_refused),
            cmocka_unit_test(ranks_of_another_attempt_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
