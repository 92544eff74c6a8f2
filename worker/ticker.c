#include "worker/ticker.h"

#include <errno.h>
#include <time.h>

#include "worker/thread.h"

static struct timespec due(int64_t period_ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_nsec + period_ms * 1000000;
    t.tv_sec += ns / 1000000000;
    t.tv_nsec = ns % 1000000000;
    return t;
}

static void *run(void *argument) {
    struct ticker *t = argument;
    bool more = true;
    pthread_mutex_lock(&t->mutex);
    while (more && !t->stop) {
        struct timespec next = due(t->period_ms);
        int woken = 0;
        while (!t->stop && woken != ETIMEDOUT) {
            woken = pthread_cond_timedwait(&t->wake, &t->mutex, &next);
        }
        if (!t->stop) {
            pthread_mutex_unlock(&t->mutex);
            more = t->look(t->user);
            pthread_mutex_lock(&t->mutex);
        }
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

static void release(struct ticker *t) {
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->mutex);
    t->started = false;
}

bool ticker_start(struct ticker *t, const char *name, struct kernel_error *why) {
    t->stop = false;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    t->started = thread_start(&t->thread, name, t->stack_bytes, run, t, why);
    if (!t->started) {
        release(t);
    }
    return t->started;
}

void ticker_stop(struct ticker *t) {
    if (!t->started) {
        return;
    }
    pthread_mutex_lock(&t->mutex);
    t->stop = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->mutex);
    pthread_join(t->thread, NULL);
    release(t);
}
