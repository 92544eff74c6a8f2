/*
 * What the device says during training: clocks, heat, energy and strangers while the
 * timed window runs, and whose its memory is. Where the table of kernels has nothing to
 * ask, and for each thing that a device does not tell, values stay unknown.
 */
#ifndef WORKER_TELEMETRY_H
#define WORKER_TELEMETRY_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/text.h"
#include "worker/ticker.h"

/* Milliseconds between samples within the window: asking costs the driver some. */
#define TELEMETRY_INTERVAL_MS 250

/* Energy over less than this says more of the counter's steps than of the work. */
#define TELEMETRY_LEAST_MS 2000

struct telemetry_mean {
    double sum;
    int64_t count;
};

/* Zeroed, it watches nothing. Stays where it is from telemetry_init() on. */
struct telemetry_watch {
    const struct kernels *kernels;
    int device, interval_ms;

    /* Device memory in use: of all before this process had a context, then of this
     * process with the context, and with streams and library handles. −1 unknown. */
    int64_t before_bytes, context_bytes, handles_bytes;

    struct ticker ticker; /* takes the samples between the ends of a stretch */
    pthread_mutex_t lock; /* over what follows */
    struct telemetry_mean sm_clock[2], memory_clock[2]; /* at the ends; between them */
    double sm_clock_max_mhz, temperature_c;
    int64_t reasons, foreign_processes;
    bool energy_known;
    int64_t began_mj; /* at the start of this stretch */
    double energy_j;  /* of stretches that are over */
};

/* Before the stream exists: takes the context, where the device has one. */
void telemetry_init(
        struct telemetry_watch *w, const struct kernels *kernels, int device);

void telemetry_finish(struct telemetry_watch *w); /* zeroed is fine */

/* Once the stream exists, before anything else is allocated on the device. */
void telemetry_stream_made(struct telemetry_watch *w);

/* A stretch of the timed window begins, or ends; the device has nothing to do. */
void telemetry_resume(struct telemetry_watch *w);
void telemetry_pause(struct telemetry_watch *w);

/* Bytes of the device's memory that this process uses now; −1 unknown. */
int64_t telemetry_bytes(const struct telemetry_watch *w);

/*
 * Set the metrics of design §8 that a device tells, and `throttle_reasons` in words,
 * for a window of `tokens` (this rank's) and `ms`. What is unknown is left out.
 */
void telemetry_add_window(
        const struct telemetry_watch *w, double tokens, double ms, json_t *fields);

/* Set `witness_bytes` and, by owner, what of it the plan's bytes leave open; `nccl` are
 * those of the communicator, −1: none. */
void telemetry_add_memory(
        const struct telemetry_watch *w, int64_t planned, int64_t nccl, json_t *fields);

/* "power cap, thermal slowdown"; "none" where no bit tells of throttling. */
void telemetry_show_reasons(int64_t reasons, struct text *out);

#endif
