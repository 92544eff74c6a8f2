#include "runner/watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "runner/signals.h"

#define GRACE_MS 5000 /* from SIGTERM to SIGKILL */
#define WATCHED 3     /* descriptors polled besides the ranks' */
#define LOOK_MS 100   /* between looks at what only files tell */

void watch_init(struct watch *w) {
    *w = (struct watch){.signal_fd = -1,
            .timer_fd = -1,
            .parent_fd = -1,
            .kill_at_ms = CLOCKS_NEVER};
}

bool watch_open(struct watch *w, struct text *err) {
    w->signal_fd = signals_open(err);
    if (w->signal_fd < 0) {
        return false;
    }
    w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return w->timer_fd >= 0 ||
           text_fail(err, "cannot make a timer: %s", strerror(errno));
}

bool watch_add_ranks(struct watch *w, int count, const char *folder, struct text *err) {
    w->ranks = text_allocate_zeroed((size_t)count, sizeof *w->ranks);
    w->polled = text_allocate_zeroed(WATCHED + 2 * (size_t)count, sizeof *w->polled);
    while (w->count < count) {
        if (!rank_init(&w->ranks[w->count], w->count, folder, err)) {
            return false;
        }
        w->count++;
    }
    return true;
}

void watch_started(struct watch *w, struct rank *r) {
    r->heard_ms = r->moved_ms = clocks_now_ms();
    w->alive++;
}

static void close_fd(int fd) {
    if (fd >= 0) {
        close(fd);
    }
}

void watch_finish(struct watch *w) {
    for (int i = 0; i < w->count; i++) {
        rank_finish(&w->ranks[i]);
    }
    free(w->ranks);
    free(w->polled);
    close_fd(w->signal_fd);
    close_fd(w->timer_fd);
    close_fd(w->parent_fd);
    text_finish(&w->reason);
}

/* ---- the ranks' words and ends ---- */

static void end_rank(struct watch *w, struct rank *r) {
    child_reap(&r->child, &r->end);
    r->ended = true;
    r->end_order = ++w->ended;
    w->alive--;
}

/* Read every pipe, then reap who has ended. False where an event file failed. */
static bool poll_ranks_once(struct watch *w) {
    struct text why = {0};
    int64_t now = clocks_now_ms();
    for (int i = 0; i < w->count; i++) {
        struct rank *r = &w->ranks[i];
        struct pollfd p = {.fd = r->child.pidfd, .events = POLLIN};
        bool ends = r->started && !r->ended && poll(&p, 1, 0) == 1;
        // Ended first, read second: all it ever wrote is in the pipe by now.
        if (r->started && !rank_read(r, now, &why)) {
            if (w->reason.size == 0) {
                text_add(&w->reason, text_get(&why));
            }
            text_clear(&why);
        }
        if (ends) {
            end_rank(w, r);
            rank_close(r);
        }
    }
    text_finish(&why);
    return w->reason.size == 0;
}

/* ---- stopping ---- */

/*
 * End what still runs: at once, or by SIGTERM and, after the grace period, SIGKILL.
 * What a rank had said before this moment is read first, since what it says afterwards
 * is not held against it.
 */
static void stop_ranks(struct watch *w, bool gently) {
    poll_ranks_once(w);
    for (int i = 0; i < w->count; i++) {
        struct rank *r = &w->ranks[i];
        if (r->started && !r->ended) {
            r->killed = true;
            child_signal(&r->child, gently ? SIGTERM : SIGKILL);
        }
    }
    w->stopping = true;
    w->kill_at_ms = gently ? clocks_now_ms() + GRACE_MS : CLOCKS_NEVER;
}

/* Whether all that is left to wait for is the end of what was killed. */
static bool is_over(const struct watch *w) {
    return w->stopping && w->kill_at_ms == CLOCKS_NEVER;
}

static void stop_for(struct watch *w, enum verdict_stop why, bool gently) {
    if (w->stop == VERDICT_STOP_NONE) {
        w->stop = why;
    }
    stop_ranks(w, gently);
}

void watch_fail(struct watch *w, struct text *why) {
    if (w->stop != VERDICT_STOP_FAILED) {
        text_clear(&w->reason);
        text_add(&w->reason, text_get(why));
    }
    text_clear(why);
    w->stop = VERDICT_STOP_FAILED;
    stop_ranks(w, false);
}

/* ---- watching ---- */

/*
 * Whether what ails a rank may not be its own: it blames another, or met a value that
 * is not finite, of which the others may be about to say the same.
 */
static bool may_be_others(const struct watch *w, const struct rank *r) {
    bool all = true;
    for (int i = 0; i < w->count; i++) {
        all = all && w->ranks[i].has_error;
    }
    bool shared = r->has_error && r->error_status == STATUS_INVALID && !r->garbage;
    return r->blames || (shared && !all);
}

static void judge_ranks(struct watch *w) {
    bool bad = false, complained = false;
    for (int i = 0; i < w->count; i++) {
        // Who blames another is believed for a while: a dying process closes what
        // its peers see before we see it dead.
        const struct rank *r = &w->ranks[i];
        bad = bad || (verdict_rank_is_bad(r) && !may_be_others(w, r));
        complained = complained || w->ranks[i].has_error;
    }
    if (is_over(w)) {
        return;
    }
    if (bad && !w->stopping) {
        // stop_ranks() looks again first, so that the death of a peer which only
        // followed from another's is not taken for the cause.
        stop_ranks(w, false);
    } else if (complained && !w->stopping && w->kill_at_ms == CLOCKS_NEVER) {
        // It has said why it fails and is expected to leave by itself.
        w->kill_at_ms = clocks_now_ms() + GRACE_MS;
    }
}

/* Who prints without end is given no grace: it would go on through it. A rank that has
 * ended may have left somebody who prints in its name. */
static void check_output(struct watch *w) {
    bool too_much = false;
    for (int i = 0; i < w->count; i++) {
        too_much = rank_prints_too_much(&w->ranks[i]) || too_much;
    }
    if (too_much && !is_over(w)) {
        stop_ranks(w, false);
    }
}

/*
 * Since when a rank counts as silent. To say that it waits for another is as good as
 * any word while there is another; where all who run wait, for each other or for one
 * that has left, none of them will ever go on.
 */
static int64_t silent_since(const struct watch *w, const struct rank *r) {
    int64_t moved_ms = 0;
    for (int i = 0; i < w->count; i++) {
        const struct rank *other = &w->ranks[i];
        if (other->started && !other->ended) {
            if (!other->waiting) {
                return r->heard_ms;
            }
            moved_ms = other->moved_ms > moved_ms ? other->moved_ms : moved_ms;
        }
    }
    return moved_ms;
}

static void check_clocks(struct watch *w) {
    int64_t now = clocks_now_ms();
    if (now >= w->kill_at_ms) {
        stop_ranks(w, false);
        return;
    }
    if (w->stopping) {
        return;
    }
    struct rank *worst = NULL;
    enum clocks_strike strike = CLOCKS_NONE;
    for (int i = 0; i < w->count; i++) {
        struct rank *r = &w->ranks[i];
        enum clocks_strike one = r->ended ? CLOCKS_NONE
                                          : clocks_check(&w->clocks, r->stepping,
                                                    silent_since(w, r), now);
        if (one != CLOCKS_NONE && (!worst || verdict_is_likelier(r, worst))) {
            worst = r;
            strike = one;
        }
    }
    if (worst) {
        w->strike = strike;
        w->strike_rank = worst->number;
        // Who has been silent for so long will not answer a SIGTERM either. What only
        // runs out of time may: a profiler then writes what it has.
        stop_for(w, VERDICT_STOP_CLOCK, strike == CLOCKS_TIMEOUT);
    }
}

static void arm_timer(struct watch *w) {
    int64_t look = is_over(w) ? CLOCKS_NEVER : clocks_now_ms() + LOOK_MS;
    int64_t next = look < w->kill_at_ms ? look : w->kill_at_ms;
    for (int i = 0; i < w->count && !w->stopping; i++) {
        const struct rank *r = &w->ranks[i];
        if (r->started && !r->ended) {
            int64_t one = clocks_next_ms(&w->clocks, r->stepping, silent_since(w, r));
            next = one < next ? one : next;
        }
    }
    struct itimerspec t = {0};
    if (next != CLOCKS_NEVER) {
        // A millisecond late rather than early: early would only wake us twice.
        next = next > 0 ? next + 1 : 1;
        t.it_value.tv_sec = next / 1000;
        t.it_value.tv_nsec = next % 1000 * 1000000;
    }
    timerfd_settime(w->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void take_signals(struct watch *w) {
    for (int n = signals_take(w->signal_fd); n > 0; n--) {
        bool again = w->stop == VERDICT_STOP_INTERRUPTED;
        stop_for(w, VERDICT_STOP_INTERRUPTED, !again);
    }
}

static void sleep_until_something(struct watch *w) {
    struct pollfd *p = w->polled;
    int n = 0;
    p[n++] = (struct pollfd){.fd = w->signal_fd, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = w->timer_fd, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = w->parent_fd, .events = POLLIN};
    for (int i = 0; i < w->count; i++) {
        const struct rank *r = &w->ranks[i];
        bool live = r->started && !r->ended;
        // poll() passes over negative descriptors.
        p[n++] = (struct pollfd){.fd = live ? r->child.pidfd : -1, .events = POLLIN};
        p[n++] = (struct pollfd){.fd = live ? r->pipe_fd : -1, .events = POLLIN};
    }
    while (poll(p, (nfds_t)n, -1) < 0 && errno == EINTR) {
    }
}

void watch_run(struct watch *w) {
    uint64_t ticks;
    while (w->alive) {
        arm_timer(w);
        sleep_until_something(w);
        if (w->polled[1].revents) {
            ssize_t ignored = read(w->timer_fd, &ticks, sizeof ticks);
            (void)ignored;
        }
        if (!poll_ranks_once(w) && w->stop != VERDICT_STOP_FAILED) {
            w->stop = VERDICT_STOP_FAILED;
            stop_ranks(w, false);
        }
        check_output(w);
        judge_ranks(w);
        if (w->polled[0].revents) {
            take_signals(w);
        }
        if (w->polled[2].revents && w->stop != VERDICT_STOP_ORPHANED) {
            w->stop = w->stop == VERDICT_STOP_NONE ? VERDICT_STOP_ORPHANED : w->stop;
            close(w->parent_fd);
            w->parent_fd = -1;
            stop_ranks(w, false);
        }
        check_clocks(w);
    }
}
