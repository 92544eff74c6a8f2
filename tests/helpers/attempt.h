/*
 * An attempt under supervision: `runner supervise` over a worker that misbehaves as it
 * is told, in a folder of its own; what it leaves behind is read from record.json.
 * What goes wrong on the way fails the test.
 */
#ifndef TESTS_HELPERS_ATTEMPT_H
#define TESTS_HELPERS_ATTEMPT_H

#include "matrix/record.h"
#include "matrix/spec.h"
#include "runner/child.h"

struct attempt {
    char folder[64];
    struct spec spec;
    struct record record; /* empty until the attempt has ended */
    char *supervise[4];
};

/* Fixtures of cmocka: *state is a struct attempt, given back by the second. */
int attempt_set_up(void **state);
int attempt_tear_down(void **state);

/* A test with both. */
#define ATTEMPT_TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, attempt_set_up, attempt_tear_down)

void attempt_set(struct attempt *a, enum param which, const char *value);

/* As which act of tests/helpers/misbehave.c the worker misbehaves. */
void attempt_tell(struct attempt *a, const char *act);

/* Two ranks, of which only this one misbehaves. */
void attempt_tell_rank(struct attempt *a, const char *act, int rank);

/* That many ranks of ddp=naive. */
void attempt_ranks(struct attempt *a, const char *count);

/* The path of a file in its folder. */
void attempt_path(const struct attempt *a, const char *name, char out[128]);

/* Start the supervisor; the caller owes attempt_collect(), or reaps it. */
struct child attempt_start(struct attempt *a);

/* Wait until the attempt's first rank has written `lines` lines of events. */
void attempt_await(struct attempt *a, int lines);

/*
 * Wait for the supervisor and read the record. Fails the test unless the record has
 * this status, the supervisor ended well, and nothing that it started is alive.
 */
void attempt_collect(struct attempt *a, struct child *c, enum status status);

/* Start it and collect it. */
void attempt_run(struct attempt *a, enum status status);

#endif
