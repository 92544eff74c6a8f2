/*
 * One rank's part in one attempt at a cell: what is asked, where this process stands
 * among the ranks, whom it tells, and what went wrong.
 */
#ifndef WORKER_ATTEMPT_H
#define WORKER_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/event.h"
#include "matrix/spec.h"
#include "matrix/status.h"
#include "matrix/text.h"

struct attempt {
    struct spec spec;
    int rank, world, local_rank;
    int shm_fd; /* −1: none */
    struct event_writer events;
    int64_t alive_ns;   /* of the last sign of life below */
    _Atomic bool waits; /* it was said, and nothing by this rank's own thread since */
    double before_main_ms;     /* CPU time spent before main(): loading the program */
    const char *_Atomic phase; /* what others of this process's threads may ask for */
    _Atomic int64_t step;      /* finished ones; likewise */
    /* What ended it, once a function taking the attempt has returned false: */
    enum status status; /* STATUS_OK: nothing yet */
    bool predicted;
    bool collateral;                 /* it is another rank that is lost */
    int64_t bytes_asked, bytes_free; /* −1: does not apply */
    struct text sentence;
};

/*
 * Read LM_EVENT_FD, LM_RANK, LM_WORLD, LM_LOCAL_RANK and LM_SHM_FD; unset, this is the
 * only rank and events go to stdout. False for values that make no sense: nobody can be
 * told by event then. `a` is zeroed before.
 */
bool attempt_init(struct attempt *a, struct text *err);
void attempt_finish(struct attempt *a);

/* Record why the attempt ends as `status` and return false. The first reason stays. */
bool attempt_fail(struct attempt *a, enum status status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* As attempt_fail(), from what a kernel or the engine reports; takes the sentence from
 * `err` and empties it. */
bool attempt_fail_kernel(
        struct attempt *a, const struct kernel_error *why, struct text *err);

/*
 * Send an event, fields as event_send() takes them (or an object, whose reference is
 * taken). False, the attempt failed, where it cannot be written.
 */
bool attempt_send(struct attempt *a, const char *name, const char *format, ...);
bool attempt_send_object(struct attempt *a, const char *name, json_t *fields);

/* Enter a phase and say so. `name` must outlive the attempt. */
bool attempt_phase(struct attempt *a, const char *name);

/* Whether a sign of life is due: nothing was sent for a second, or the last that was
 * said is that this rank waits. */
bool attempt_is_silent(const struct attempt *a);

/* Whether nothing was sent for a second, not even that. */
bool attempt_is_mute(const struct attempt *a);

/*
 * Within a step: send `progress` where a second has passed since the last event and the
 * last such sign, or this rank had said that it waits. It is no event to
 * attempt_is_silent(), so that a long step is still told of as soon as it ends.
 */
void attempt_live(struct attempt *a);

/* Send `progress`: this rank is fine, it is another that keeps it waiting. From any
 * thread. */
void attempt_waiting(struct attempt *a);

/* Milliseconds since the process started, loading included. */
double attempt_age_ms(const struct attempt *a);

/* Tell the failure by event. For main, before it ends the process. */
void attempt_report_failure(struct attempt *a);

/* Tell a failure in the words of whoever noticed, `collateral` where it only follows
 * from another rank's, and end the process. From any thread, whatever the others are
 * stuck in. */
_Noreturn void attempt_abandon(
        struct attempt *a, enum status status, bool collateral, const char *sentence);

/* Tell, without allocating, that `bytes` were refused, as the failure oom_host. */
void attempt_report_refusal(const struct attempt *a, size_t bytes);

#endif
