/*
 * Pinned host memory through which steps go down to the device and their outcomes come
 * back: a ring of slots, one per step in flight, so that the host may prepare a step
 * while the device works on another and nobody waits but for a finished step.
 */
#ifndef WORKER_RING_H
#define WORKER_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "worker/values.h"

#define RING_SLOTS 2 /* steps that may be in flight */

struct ring {
    struct device_access access;
    struct ring_slot {
        char *memory;               /* pinned: what goes down, then what comes back */
        struct device_event *event; /* the outcome has arrived */
    } slots[RING_SLOTS];
    size_t down, back;        /* bytes of the two parts of a slot */
    int64_t queued, finished; /* steps so far */
};

/* Slots of `down` and `back` bytes. On failure nothing is held. */
bool ring_init(struct ring *r, const struct device_access *access, size_t down,
        size_t back, struct kernel_error *err);
void ring_finish(struct ring *r); /* zeroed is fine */

/* Room for the next step's input, [down] bytes; the step before the last must have
 * been finished. */
void *ring_input(struct ring *r);

/* Queue the copy of `back` bytes from the device at `from`: the step is on its way. */
bool ring_queue(struct ring *r, const void *from, struct kernel_error *err);

/* Wait for the oldest step on its way; its [back] bytes, valid until the next call. */
bool ring_wait(struct ring *r, const void **outcome, struct kernel_error *err);

#endif
