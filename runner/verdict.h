/*
 * What an attempt came to: a status, the guilty rank and one sentence, from how its
 * ranks ended, what they declared, and what the supervisor itself did to them. Pure, so
 * that every combination can be tested without a process.
 */
#ifndef RUNNER_VERDICT_H
#define RUNNER_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/status.h"
#include "matrix/text.h"
#include "runner/clocks.h"
#include "runner/rank.h"

/* Why the supervisor ended the attempt, where it did. */
enum verdict_stop {
    VERDICT_STOP_NONE, /* the ranks ended by themselves, or after one had */
    VERDICT_STOP_CLOCK,
    VERDICT_STOP_INTERRUPTED, /* a signal to the supervisor */
    VERDICT_STOP_ORPHANED,    /* the runner died */
    VERDICT_STOP_FAILED       /* the supervisor could not go on: `reason` says why */
};

struct verdict_input {
    const struct rank *ranks;
    int count;
    enum verdict_stop stop;
    enum clocks_strike strike; /* VERDICT_STOP_CLOCK: which one … */
    int strike_rank;           /* … of which rank */
    const struct clocks *clocks;
    const char *reason; /* VERDICT_STOP_FAILED */
    bool oom_killed;    /* the kernel says it killed for memory meanwhile */
};

struct verdict {
    enum status status;
    int guilty;  /* rank number, -1 where none is */
    char *error; /* one sentence, "" where ok; owned */
};

void verdict_reach(const struct verdict_input *in, struct verdict *out);
void verdict_finish(struct verdict *v);

/* Of two ranks over which a clock has struck, whether `a` is likelier to be the one
 * that hangs. */
bool verdict_is_likelier(const struct rank *a, const struct rank *b);

/* Whether this rank's end, or what it wrote, ends the whole cell. */
bool verdict_rank_is_bad(const struct rank *r);

#endif
