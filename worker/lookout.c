#include "worker/lookout.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/backend.h"
#include "worker/ddp.h"

#define PATIENCE_S 10     /* past start_s, which the supervisor watches */
#define LOOK_NS 250000000 /* between looks; a sign of life is due after a second */

static struct timespec next_look(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += LOOK_NS;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static void *look(void *argument) {
    struct lookout *l = argument;
    pthread_mutex_lock(&l->mutex);
    while (!l->stop) {
        struct timespec until = next_look();
        while (!l->stop && pthread_cond_timedwait(&l->ended, &l->mutex, &until) == 0) {
        }
        if (!l->stop && attempt_is_mute(l->attempt) && comm_behind(l->comm) >= 0) {
            attempt_waiting(l->attempt);
        }
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
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
static void tell_lost(void *user, const char *sentence) {
    struct lookout *l = user;
    struct kernel_error why = {0};
    size_t unused, total;
    bool broken = l->kernels->device_memory &&
                  !l->kernels->device_memory(l->device, &unused, &total, &why) &&
                  why.kind == KERNEL_DEVICE_FAULT;
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

bool lookout_start(struct lookout *l, struct comm *c, struct text *err) {
    l->comm = c;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int failure = pthread_create(&l->thread, NULL, look, l);
    l->started = failure == 0;
    return l->started ||
           text_fail(err, "cannot start the lookout's thread: %s", strerror(failure));
}

bool lookout_meet(struct lookout *l, struct attempt *a, int device, size_t bytes,
        struct comm **out, struct text *err) {
    if (a->shm_fd < 0) {
        return text_fail(
                err, "%d ranks need the shared memory that LM_SHM_FD names", a->world);
    }
    int64_t start_s = params_integer(&a->spec.params, PARAM_START_S);
    struct comm_options options = {.backend = backend_comm(),
            .rank = a->rank,
            .world = a->world,
            .device = device,
            .shm_fd = a->shm_fd,
            .bytes = bytes,
            .beside = ddp_overlaps(&a->spec.params),
            .nonce = getenv("LM_NONCE"),
            .deadline_ms = (start_s + PATIENCE_S) * 1000,
            .kernels = backend_kernels()};
    lookout_prepare(l, a, &options);
    bool met = comm_create(&options, out, err) && lookout_start(l, *out, err);
    a->collateral = !met;
    return met;
}

void lookout_announce(struct lookout *l) {
    if (l->started) {
        comm_announce(l->comm, l->announced++);
    }
}

void lookout_stop(struct lookout *l) {
    if (!l->started) {
        return;
    }
    pthread_mutex_lock(&l->mutex);
    l->stop = true;
    pthread_cond_signal(&l->ended);
    pthread_mutex_unlock(&l->mutex);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->ended);
    pthread_mutex_destroy(&l->mutex);
    *l = (struct lookout){0};
}
