/* A thread that looks again and again; one that has no room for its stack is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/measure.h"
#include "worker/thread.h"
#include "worker/ticker.h"

struct looks {
    atomic_int count;
    int most;
};

static bool look(void *user) {
    struct looks *l = user;
    return ++l->count < l->most;
}

static void wait_for(struct looks *l, int count) {
    while (l->count < count) {
        nanosleep(&(struct timespec){0, 1000 * 1000}, NULL);
    }
}

static struct ticker every_ms(struct looks *l) {
    return (struct ticker){
            .period_ms = 1, .stack_bytes = THREAD_STACK_BYTES, .look = look, .user = l};
}

static void it_looks_until_it_is_stopped(void **state) {
    (void)state;
    struct looks looks = {.most = INT32_MAX};
    struct ticker t = every_ms(&looks);
    struct kernel_error why = {0};
    assert_true(ticker_start(&t, "test", &why));
    wait_for(&looks, 3);
    ticker_stop(&t);
    int seen = looks.count;
    nanosleep(&(struct timespec){0, 20 * 1000 * 1000}, NULL);
    assert_int_equal(looks.count, seen);
    ticker_stop(&t);
    assert_true(ticker_start(&t, "test", &why));
    wait_for(&looks, seen + 1);
    ticker_stop(&t);
}

static void it_stops_looking_once_it_has_seen_enough(void **state) {
    (void)state;
    struct looks looks = {.most = 2};
    struct ticker t = every_ms(&looks);
    struct kernel_error why = {0};
    assert_true(ticker_start(&t, "test", &why));
    wait_for(&looks, 2);
    nanosleep(&(struct timespec){0, 20 * 1000 * 1000}, NULL);
    ticker_stop(&t);
    assert_int_equal(looks.count, 2);
}

/* What a start ends as under a limit that leaves 4 MiB, which a sanitizer needs for
 * itself; -1: something is amiss. */
static int start_without_room(void) {
    struct looks looks = {.most = 1};
    struct ticker t = every_ms(&looks);
    struct kernel_error why = {0};
    rlim_t room = (rlim_t)measure_data() + (4 << 20);
    struct rlimit limit = {room, room};
    t.stack_bytes = 64 << 20;
    if (setrlimit(RLIMIT_DATA, &limit) != 0 || ticker_start(&t, "test", &why) ||
            t.started) {
        return -1;
    }
    return why.bytes_asked == 64 << 20 && why.bytes_free < 64 << 20 ? (int)why.kind
                                                                    : -1;
}

static void thread_without_room_for_its_stack_is_out_of_memory(void **state) {
    (void)state;
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(start_without_room());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), KERNEL_OUT_OF_MEMORY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            // First: a thread that has ended leaves its stack to the next.
            cmocka_unit_test(thread_without_room_for_its_stack_is_out_of_memory),
            cmocka_unit_test(it_looks_until_it_is_stopped),
            cmocka_unit_test(it_stops_looking_once_it_has_seen_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
