/*
 * The attempts that a run has under way, up to --jobs at once. Each is taken from the
 * queue, claimed in the results folder, given its GPUs and handed to a supervisor; once
 * that has ended its record counts, and its GPUs wait for their memory.
 *
 * Nothing here sleeps: the run polls what attempts_poll() names.
 */
#ifndef RUNNER_ATTEMPTS_H
#define RUNNER_ATTEMPTS_H

#include <stdbool.h>

#include "matrix/cell.h"
#include "matrix/status.h"
#include "matrix/text.h"
#include "runner/machine.h"
#include "runner/options.h"
#include "runner/pool.h"
#include "runner/progress.h"
#include "runner/queue.h"
#include "runner/reclaim.h"
#include "runner/store.h"
#include "runner/workers.h"

struct active;
struct launcher;
struct pollfd;

struct attempts {
    /* The run's, set before attempts_init(); they outlive the attempts. */
    const struct options *options;
    const struct store *store;
    const struct workers *workers;
    const struct cells *cells;
    struct queue *queue;
    struct progress *progress;

    const struct launcher *launcher;
    struct pool pool;
    struct reclaim reclaim;
    struct active *active; /* --jobs places; owned */
    int running;
    int ended[STATUS_COUNT]; /* attempts of this run, by how they ended */
    bool not_passed;         /* one of them did not pass */
    bool broken; /* the results folder cannot be written: start nothing more */
};

/*
 * Their GPUs are those of `machine`, which must outlive `all`, that --devices names.
 * On failure attempts_finish() is owed all the same.
 */
bool attempts_init(
        struct attempts *all, const struct machine *machine, struct text *err);

/* None may be running any more; a zeroed `all` is fine. */
void attempts_finish(struct attempts *all);

/* Whether the run is content with `c` having ended so: its `expect`, --strict. */
bool attempts_pass(
        const struct attempts *all, const struct cell *c, enum status status);

/* Of a cell that did not pass: the status it should have had; NULL where it names none.
 */
const char *attempts_missed(const struct cell *c);

/*
 * Start the queue's next attempt, or record at once why it cannot be made. False where
 * nothing more can be started now. `err` gains a sentence where that broke the run.
 */
bool attempts_start(struct attempts *all, struct text *err);

/* What to poll for: one entry of `polled` for each of the --jobs places. */
void attempts_poll(const struct attempts *all, struct pollfd *polled);

/*
 * Tell which probes have ended, conclude the attempts that poll() found ended, give
 * back GPUs that are ready. Nothing polls readable where a probe ends.
 */
void attempts_collect(
        struct attempts *all, const struct pollfd *polled, struct text *err);

/* Ask all that run to end: with grace the first time, at once the second. */
void attempts_cancel(struct attempts *all);

/* Redraw the status line, from the first one that runs. */
void attempts_draw(struct attempts *all);

#endif
