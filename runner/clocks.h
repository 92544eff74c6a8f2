/*
 * The three clocks of an attempt. All times are CLOCK_MONOTONIC milliseconds; a limit
 * of 0 never strikes. Pure arithmetic: whoever owns the timer asks when to wake.
 */
#ifndef RUNNER_CLOCKS_H
#define RUNNER_CLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/axes.h"

struct clocks {
    int64_t start_ms;     /* from `began_ms` to the first step */
    int64_t heartbeat_ms; /* between events, once there was a step */
    int64_t timeout_ms;   /* the whole attempt */
    int64_t began_ms;
};

enum clocks_strike {
    CLOCKS_NONE,
    CLOCKS_START,
    CLOCKS_HEARTBEAT,
    CLOCKS_TIMEOUT /* the cell's own limit wins where two strike at once */
};

#define CLOCKS_NEVER INT64_MAX

int64_t clocks_now_ms(void);

/* The limits from a cell's parameters, begun now. */
void clocks_init(struct clocks *c, const struct params *p);

/*
 * When the next clock strikes for a rank that has made its first step (`stepping`) or
 * not, and was last heard of at `heard_ms`; CLOCKS_NEVER where none is set.
 */
int64_t clocks_next_ms(const struct clocks *c, bool stepping, int64_t heard_ms);

/* Which clock has struck at `now_ms`. */
enum clocks_strike clocks_check(
        const struct clocks *c, bool stepping, int64_t heard_ms, int64_t now_ms);

#endif
