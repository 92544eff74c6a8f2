#include "worker/meeting.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int64_t meeting_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void meeting_arrive(struct meeting *m, unsigned until) {
    if (atomic_fetch_add(&m->arrived, 1) + 1 == until) {
        syscall(SYS_futex, &m->arrived, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
}

bool meeting_await(struct meeting *m, unsigned until, int64_t deadline_ms) {
    for (;;) {
        unsigned seen = atomic_load(&m->arrived);
        if ((int)(until - seen) <= 0) {
            return true;
        }
        struct timespec left, *timeout = NULL;
        if (deadline_ms >= 0) {
            int64_t ms = deadline_ms - meeting_now_ms();
            if (ms <= 0) {
                return false;
            }
            left = (struct timespec){ms / 1000, ms % 1000 * 1000000};
            timeout = &left;
        }
        syscall(SYS_futex, &m->arrived, FUTEX_WAIT, seen, timeout, NULL, 0);
    }
}
