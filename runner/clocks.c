#include "runner/clocks.h"

#include <time.h>

int64_t clocks_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t limit_ms(const struct params *p, enum param which) {
    double s = axes_get(which)->type == AXIS_REAL ? params_real(p, which)
                                                  : (double)params_integer(p, which);
    // Past a century it is no limit, and the sums below cannot overflow.
    return s > 0 && s < 3e9 ? (int64_t)(s * 1000) : 0;
}

void clocks_init(struct clocks *c, const struct params *p) {
    *c = (struct clocks){
            .start_ms = limit_ms(p, PARAM_START_S),
            .heartbeat_ms = limit_ms(p, PARAM_HEARTBEAT_S),
            .timeout_ms = limit_ms(p, PARAM_TIMEOUT_S),
            .began_ms = clocks_now_ms(),
    };
}

static int64_t deadline(int64_t from_ms, int64_t limit) {
    return limit > 0 ? from_ms + limit : CLOCKS_NEVER;
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t clocks_next_ms(const struct clocks *c, bool stepping, int64_t heard_ms) {
    int64_t silence = stepping ? deadline(heard_ms, c->heartbeat_ms)
                               : deadline(c->began_ms, c->start_ms);
    return earlier(silence, deadline(c->began_ms, c->timeout_ms));
}

enum clocks_strike clocks_check(
        const struct clocks *c, bool stepping, int64_t heard_ms, int64_t now_ms) {
    if (now_ms >= deadline(c->began_ms, c->timeout_ms)) {
        return CLOCKS_TIMEOUT;
    }
    if (!stepping && now_ms >= deadline(c->began_ms, c->start_ms)) {
        return CLOCKS_START;
    }
    if (stepping && now_ms >= deadline(heard_ms, c->heartbeat_ms)) {
        return CLOCKS_HEARTBEAT;
    }
    return CLOCKS_NONE;
}
