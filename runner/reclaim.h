/*
 * Between two cells on a GPU: the memory that the first one took must be back before
 * the second starts, or it would meet less than there is (design §6). What was in use
 * on the cell's devices is read before it starts; once it has ended its devices are
 * kept from the pool until the same is in use again, or for RECLAIM_LIMIT_MS at most.
 *
 * Nothing here sleeps: the run's own poll() wakes at reclaim_next_ms().
 */
#ifndef RUNNER_RECLAIM_H
#define RUNNER_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"
#include "runner/gauge.h"
#include "runner/pool.h"

#define RECLAIM_LIMIT_MS 10000
#define RECLAIM_FIRST_PAUSE_MS 5  /* between readings; each is twice the last one … */
#define RECLAIM_LAST_PAUSE_MS 250 /* … up to this */
#define RECLAIM_TOLERANCE_BYTES (INT64_C(64) << 20) /* what others may come to use */

/* Whether a device holds more than it did, beyond the tolerance; unknown is no. */
bool reclaim_is_missing(int64_t before_bytes, int64_t now_bytes);

/* Some cell's devices, and what was in use on each before it started. */
struct reclaim_stay {
    struct pool_lease lease;
    int64_t *before_bytes; /* GAUGE_UNKNOWN where nothing tells */
    char *cell;
    int64_t began_ms, next_ms;
    int pause_ms;
};

struct reclaim {
    struct gauge gauge;
    char *const *bus_ids;   /* of this machine's GPUs, by number */
    int64_t *missing_bytes; /* by number: what the last cell there did not give back */
    struct reclaim_stay *stays; /* those that are waited for */
    int count;
};

/* `worker` as for a gauge; `bus_ids`, `gpu_count` of them, must outlive `r`. */
void reclaim_init(
        struct reclaim *r, const char *worker, char *const *bus_ids, int gpu_count);

/* Owed leases are dropped: the pool must not be used afterwards. */
void reclaim_finish(struct reclaim *r);

/*
 * Before a cell starts on `lease`: what is in use there, one value a GPU, for
 * reclaim_wait(); the caller's to free. NULL for a lease without GPUs. `missing_bytes`
 * gets what earlier cells did not give back on them.
 */
int64_t *reclaim_before(
        struct reclaim *r, const struct pool_lease *lease, int64_t *missing_bytes);

/*
 * `cell` has ended: take its lease and give it back to `pool`, now or later. `lease`
 * and `before_bytes` (as above) are `r`'s from here on.
 */
void reclaim_wait(struct reclaim *r, struct pool *pool, struct pool_lease *lease,
        int64_t *before_bytes, const char *cell, int64_t now_ms);

/* When to look again; CLOCKS_NEVER where nothing is waited for. */
int64_t reclaim_next_ms(const struct reclaim *r);

/*
 * Look at what is due, and give back to `pool` what has its memory back or has been
 * waited for long enough; for the latter `said` gains a sentence, one a line.
 */
void reclaim_look(
        struct reclaim *r, struct pool *pool, int64_t now_ms, struct text *said);

#endif
