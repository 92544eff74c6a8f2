/*
 * Times of device work: replays of a graph of many calls between two events, so that
 * neither the host nor a launch counts.
 */
#ifndef TESTS_CHECKKERNELS_TIMER_H
#define TESTS_CHECKKERNELS_TIMER_H

#include "tests/checkkernels/device.h"

/* More than any cache holds: operands rotate among sets that are as large together. */
#define TIMER_CACHE ((size_t)160 << 20)

/* Queues one call on operand set `round` modulo the sets there are. */
typedef bool (*timer_call_fn)(
        void *context, int round, struct stream *stream, struct kernel_error *err);

/* Seconds of a call, the median of `repeats` replays of `calls` calls. */
bool timer_replay(const struct kernels *table, struct stream *stream, int calls,
        int repeats, timer_call_fn call, void *context, double *seconds,
        struct kernel_error *err);

/* The same after a warm-up, as often as the call's time and `sets` ask for. */
bool timer_median(const struct kernels *table, struct stream *stream, int sets,
        timer_call_fn call, void *context, double *seconds, struct kernel_error *err);

/* How many sets of `bytes` exceed the caches. */
int timer_sets(size_t bytes);

/* Room on the device for an operand, filled with what it asks for, repeated. */
bool timer_tensor(struct device *d, struct stream *stream, const struct operand *o,
        uint64_t seed, struct tensor *out, struct kernel_error *err);

/* A row of the device's table; `untuned_s` 0: not a tuned product. */
void timer_line(const struct check *check, const char *op, const char *shape,
        enum dtype type, double seconds, double flops, double bytes, double untuned_s);
void timer_head(void);

#endif
