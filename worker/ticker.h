/*
 * A thread that looks at something again and again, and sleeps in between.
 */
#ifndef WORKER_TICKER_H
#define WORKER_TICKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

struct ticker {
    int64_t period_ms; /* before each look; the caller sets these four */
    size_t stack_bytes;
    bool (*look)(void *user); /* on the thread; false: never again */
    void *user;

    pthread_t thread;
    pthread_mutex_t mutex; /* over `stop` */
    pthread_cond_t wake;
    bool started, stop;
};

/* `t` stays where it is until ticker_stop(). On failure nothing is left to stop; `why`
 * as thread_start() tells it of `name`. */
bool ticker_start(struct ticker *t, const char *name, struct kernel_error *why);

/* After the look that is under way, if one is. Nothing where it was not started. */
void ticker_stop(struct ticker *t);

#endif
