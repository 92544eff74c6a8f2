#include "worker/lookout.h"

#include <stdlib.h>

#include "worker/backend.h"
#include "worker/thread.h"

#define PATIENCE_S 10 /* past start_s, which the supervisor watches */
#define LOOK_MS 250   /* between looks; a sign of life is due after a second */

static bool look(void *user) {
    struct lookout *l = user;
    if (attempt_is_mute(l->attempt) && comm_behind(l->comm) >= 0) {
        attempt_waiting(l->attempt);
    }
    return true;
}

static void tell_waiting(void *user) {
    struct lookout *l = user;
    attempt_waiting(l->attempt);
}

static void tell_moving(void *user) {
    struct lookout *l = user;
    attempt_live(l->attempt);
}

/* Where this rank's own device has failed, that is what its collectives ended of. */
static bool is_broken(const struct lookout *l, struct kernel_error *why) {
    size_t unused, total;
    return l->kernels->device_memory &&
           !l->kernels->device_memory(l->device, &unused, &total, why) &&
           why->kind == KERNEL_DEVICE_FAULT;
}

static void tell_lost(void *user, const char *sentence) {
    struct lookout *l = user;
    struct kernel_error why = {0};
    bool broken = is_broken(l, &why);
    attempt_abandon(l->attempt, broken ? STATUS_CRASHED : STATUS_FAILED, !broken,
            broken ? why.sentence : sentence);
}

void lookout_prepare(struct lookout *l, struct attempt *a, struct comm_options *o) {
    *l = (struct lookout){.attempt = a, .kernels = o->kernels, .device = o->device};
    o->waiting = tell_waiting;
    o->moving = tell_moving;
    o->failed = tell_lost;
    o->user = l;
}

bool lookout_start(struct lookout *l, struct comm *c, struct kernel_error *why) {
    l->comm = c;
    l->ticker = (struct ticker){.period_ms = LOOK_MS,
            .stack_bytes = THREAD_STACK_BYTES,
            .look = look,
            .user = l};
    return ticker_start(&l->ticker, "lookout", why);
}

static bool fail(struct lookout *l, const struct comm_failure *f, struct text *err) {
    struct kernel_error fault = {0};
    bool broken = is_broken(l, &fault);
    if (broken) {
        text_clear(err);
    }
    l->attempt->collateral = f->others && !broken;
    return attempt_fail_kernel(l->attempt, broken ? &fault : &f->why, err);
}

bool lookout_meet(struct lookout *l, struct attempt *a, int device, size_t bytes,
        enum comm_share share, struct comm **out) {
    if (a->shm_fd < 0) {
        return attempt_fail(a, STATUS_FAILED,
                "%d ranks need the shared memory that LM_SHM_FD names", a->world);
    }
    int64_t start_s = params_integer(&a->spec.params, PARAM_START_S);
    struct comm_failure failure = {0};
    struct comm_options options = {.backend = backend_comm(),
            .rank = a->rank,
            .world = a->world,
            .device = device,
            .shm_fd = a->shm_fd,
            .bytes = bytes,
            .share = share,
            .captured = params_integer(&a->spec.params, PARAM_GRAPH) == GRAPH_ON,
            .nonce = getenv("LM_NONCE"),
            .deadline_ms = (start_s + PATIENCE_S) * 1000,
            .kernels = backend_kernels(),
            .failure = &failure};
    lookout_prepare(l, a, &options);
    struct text err = {0};
    bool met = (comm_create(&options, out, &err) &&
                       lookout_start(l, *out, &failure.why)) ||
               fail(l, &failure, &err);
    text_finish(&err);
    return met;
}

void lookout_announce(struct lookout *l) {
    if (l->ticker.started) {
        comm_announce(l->comm, l->announced++);
    }
}

void lookout_stop(struct lookout *l) {
    ticker_stop(&l->ticker);
    *l = (struct lookout){0};
}
