/*
 * The ranks of one attempt under their supervisor's eye: what they say is read, what
 * ends is reaped, and whoever breaks, prints without end, falls silent or runs out of
 * time takes the others along, as do a signal to the supervisor and the end of its
 * runner. Why it stopped them is kept for runner/verdict.
 *
 * Life: watch_init(), watch_open(), watch_add_ranks(), start each rank and tell
 * watch_started(), watch_run(), watch_finish(). Single-threaded; sleeps in one poll()
 * on the ranks' pidfds and event pipes, a timerfd, a signalfd and a pidfd of the
 * runner.
 */
#ifndef RUNNER_WATCH_H
#define RUNNER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"
#include "runner/clocks.h"
#include "runner/rank.h"
#include "runner/verdict.h"

struct pollfd;

struct watch {
    struct rank *ranks; /* owned; `count` of them are open */
    int count, alive, ended;
    struct clocks clocks;    /* the caller's to set before the first rank starts */
    int signal_fd, timer_fd; /* owned */
    int parent_fd; /* polls readable once the runner is dead, or −1; the caller's to
                      set, then owned */
    struct pollfd *polled;

    enum verdict_stop stop; /* the caller's to set where nothing is to start */
    enum clocks_strike strike;
    int strike_rank;
    struct text reason; /* VERDICT_STOP_FAILED */
    bool stopping;      /* signals have been sent, or wait for `kill_at_ms` */
    int64_t kill_at_ms; /* CLOCKS_NEVER unless a grace period runs */
};

/* Nothing is watched yet. watch_finish() may follow from here on, whatever failed. */
void watch_init(struct watch *w);

/* Take signals and time from now on. */
bool watch_open(struct watch *w, struct text *err);

/*
 * Make `count` ranks ready to be started, their event files in `folder`. On failure
 * those before the one that failed stay open; none is to be started.
 */
bool watch_add_ranks(struct watch *w, int count, const char *folder, struct text *err);

/* `r`, one of the ranks, runs from now on. */
void watch_started(struct watch *w, struct rank *r);

/* The supervisor cannot go on: kill what runs. Takes the sentence out of `why`. */
void watch_fail(struct watch *w, struct text *why);

/* Sleep and act until every rank that was started has ended and been reaped. */
void watch_run(struct watch *w);

void watch_finish(struct watch *w);

#endif
