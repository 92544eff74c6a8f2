/*
 * What a run has to do, in order: repeats are interleaved, all cells once and then all
 * again, so that drift of the machine spreads over the cells.
 */
#ifndef RUNNER_QUEUE_H
#define RUNNER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runner/matrices.h"
#include "runner/store.h"

struct queue_cell {
    const struct cell *cell;
    struct store_cell has; /* as found when the run began, then kept up */
    int left;              /* attempts not started yet */
    int round;             /* attempts taken from the queue so far */
    bool busy;             /* an attempt of it runs: repeats never overlap */
};

struct queue {
    struct queue_cell *cells; /* the selected ones that are not excluded */
    size_t count;
    size_t at;           /* where the search for the next one goes on */
    int round;           /* the repeat under way */
    int total;           /* attempts to run in all */
    int64_t expected_ms; /* of them together; -1 where any is unknown */
    size_t live;         /* cells that somebody else runs */
};

/* Look at every selected cell, recording lost attempts. */
bool queue_init(struct queue *q, const struct matrices *m, const struct store *s,
        const char *out, struct text *err);
void queue_finish(struct queue *q);

/*
 * The next cell to start an attempt of, or NULL where none may be started now: all are
 * done, or those that are left still run an earlier attempt. The caller owes
 * queue_done() once the attempt has ended, or queue_put_back() where it cannot start.
 */
struct queue_cell *queue_next(struct queue *q);

/* Put a cell that could not be started now back. */
void queue_put_back(struct queue *q, struct queue_cell *c);

void queue_done(struct queue_cell *c);

/* Nothing left to start. */
bool queue_is_empty(const struct queue *q);

#endif
