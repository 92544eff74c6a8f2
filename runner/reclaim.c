#include "runner/reclaim.h"

#include <stdlib.h>
#include <string.h>

#include "runner/clocks.h"

bool reclaim_is_missing(int64_t before_bytes, int64_t now_bytes) {
    return before_bytes >= 0 && now_bytes >= 0 &&
           now_bytes - before_bytes > RECLAIM_TOLERANCE_BYTES;
}

void reclaim_init(
        struct reclaim *r, const char *worker, char *const *bus_ids, int gpu_count) {
    *r = (struct reclaim){.bus_ids = bus_ids};
    gauge_init(&r->gauge, worker);
    r->missing_bytes =
            text_allocate_zeroed((size_t)gpu_count + 1, sizeof *r->missing_bytes);
}

static void finish_stay(struct reclaim_stay *s) {
    free(s->lease.gpus);
    free(s->before_bytes);
    free(s->cell);
}

void reclaim_finish(struct reclaim *r) {
    for (int i = 0; i < r->count; i++) {
        finish_stay(&r->stays[i]);
    }
    free(r->stays);
    free(r->missing_bytes);
    gauge_finish(&r->gauge);
    *r = (struct reclaim){0};
}

/* What is in use on each of a lease's GPUs. */
static void read_lease(
        struct reclaim *r, const struct pool_lease *lease, int64_t *used_bytes) {
    size_t count = (size_t)lease->gpu_count;
    char **bus_ids = text_allocate_zeroed(count + 1, sizeof *bus_ids);
    for (size_t i = 0; i < count; i++) {
        bus_ids[i] = r->bus_ids[lease->gpus[i]];
    }
    gauge_read(&r->gauge, bus_ids, lease->gpu_count, used_bytes, NULL);
    free(bus_ids);
}

int64_t *reclaim_before(
        struct reclaim *r, const struct pool_lease *lease, int64_t *missing_bytes) {
    *missing_bytes = 0;
    if (lease->gpu_count == 0) {
        return NULL;
    }
    int64_t *before = text_allocate_zeroed((size_t)lease->gpu_count, sizeof *before);
    read_lease(r, lease, before);
    for (int i = 0; i < lease->gpu_count; i++) {
        *missing_bytes += r->missing_bytes[lease->gpus[i]];
    }
    return before;
}

/* Bytes beyond the tolerance that are in use on each GPU, kept by number; their sum. */
static int64_t measure(struct reclaim *r, const struct reclaim_stay *s) {
    size_t count = (size_t)s->lease.gpu_count;
    int64_t *now = text_allocate_zeroed(count + 1, sizeof *now), sum = 0;
    read_lease(r, &s->lease, now);
    for (size_t i = 0; i < count; i++) {
        bool more = reclaim_is_missing(s->before_bytes[i], now[i]);
        int64_t missing = more ? now[i] - s->before_bytes[i] : 0;
        r->missing_bytes[s->lease.gpus[i]] = missing;
        sum += missing;
    }
    free(now);
    return sum;
}

void reclaim_wait(struct reclaim *r, struct pool *pool, struct pool_lease *lease,
        int64_t *before_bytes, const char *cell, int64_t now_ms) {
    struct reclaim_stay s = {.lease = *lease,
            .before_bytes = before_bytes,
            .cell = text_copy(cell),
            .began_ms = now_ms,
            .next_ms = now_ms + RECLAIM_FIRST_PAUSE_MS,
            .pause_ms = RECLAIM_FIRST_PAUSE_MS};
    *lease = (struct pool_lease){0};
    if (!before_bytes || measure(r, &s) == 0) {
        pool_give_back(pool, &s.lease);
        finish_stay(&s);
        return;
    }
    r->stays = text_reallocate(r->stays, ((size_t)r->count + 1) * sizeof *r->stays);
    r->stays[r->count++] = s;
}

int64_t reclaim_next_ms(const struct reclaim *r) {
    int64_t next = CLOCKS_NEVER;
    for (int i = 0; i < r->count; i++) {
        next = r->stays[i].next_ms < next ? r->stays[i].next_ms : next;
    }
    return next;
}

static void say_missing(
        const struct reclaim_stay *s, int64_t bytes, struct text *said) {
    text_addf(said, "%.1f MiB of GPU ", (double)bytes / 1048576);
    pool_show(&s->lease, said);
    text_addf(said, " are still in use %d s after %s: going on\n",
            RECLAIM_LIMIT_MS / 1000, s->cell);
}

/* Whether there is nothing left to wait for. */
static bool look_at(
        struct reclaim *r, struct reclaim_stay *s, int64_t now_ms, struct text *said) {
    if (now_ms < s->next_ms) {
        return false;
    }
    int64_t missing = measure(r, s);
    if (missing == 0) {
        return true;
    }
    if (now_ms - s->began_ms >= RECLAIM_LIMIT_MS) {
        say_missing(s, missing, said);
        return true;
    }
    s->pause_ms = 2 * s->pause_ms < RECLAIM_LAST_PAUSE_MS ? 2 * s->pause_ms
                                                          : RECLAIM_LAST_PAUSE_MS;
    s->next_ms = now_ms + s->pause_ms;
    return false;
}

void reclaim_look(
        struct reclaim *r, struct pool *pool, int64_t now_ms, struct text *said) {
    int kept = 0;
    for (int i = 0; i < r->count; i++) {
        struct reclaim_stay *s = &r->stays[i];
        if (look_at(r, s, now_ms, said)) {
            pool_give_back(pool, &s->lease);
            finish_stay(s);
        } else {
            r->stays[kept++] = *s;
        }
    }
    r->count = kept;
}
