/*
 * A results folder made by hand: cells and attempts as a test wants them, held in
 * memory as results_read() would give them back, and written to disk on demand.
 */
#ifndef TESTS_HELPERS_FOLDER_H
#define TESTS_HELPERS_FOLDER_H

#include "matrix/results.h"

struct folder {
    struct results results; /* usable as such once folder_seal() was called */
    struct result_cell *cells;
    size_t capacity;
};

/* A matrix of this name, description and baseline ("" for none), run by one command. */
void folder_init(struct folder *f, const char *matrix, const char *description,
        const char *baseline);
void folder_finish(struct folder *f);

/* One more command that filled it. */
void folder_command(struct folder *f, const char *command);

/*
 * Add a cell whose parameters are `settings` ("batch=4 kernel=flash"); its place is
 * returned. `excluded` is NULL for a cell that runs.
 */
size_t folder_cell(struct folder *f, const char *experiment, const char *id,
        const char *settings, const char *excluded);

/*
 * Add an attempt with provenance, times and, where `status` is ok, speed and peak; the
 * record may be changed further.
 */
struct record *folder_attempt(
        struct folder *f, size_t cell, enum status status, double tps, double peak);

/* Add a cell that ran once and ended ok: both of the above, in one. */
struct record *folder_ran(struct folder *f, const char *experiment, const char *id,
        const char *settings, double tps, double peak);

/* An attempt without a record, or with one that cannot be read. */
void folder_broken_attempt(struct folder *f, size_t cell, const char *damage);

/* Set a metric, or a text of the provenance. */
void folder_metric(struct record *r, const char *name, double value);
void folder_fact(struct record *r, const char *name, const char *value);

/* It ran on GPU `first` of its machine and the next. */
void folder_on_gpus(struct record *r, int first);

/* Make `results` whole: its cells point into its plan. No cell may follow. */
void folder_seal(struct folder *f);

/*
 * Write plan.json and every record below `path`; attempts without a record get a folder
 * only, damaged ones a torn file. False with a sentence where that fails.
 */
bool folder_write(const struct folder *f, const char *path, struct text *err);

/* A fresh folder below $TMPDIR; the caller frees the path, folder_remove() it first. */
char *folder_temporary(void);
void folder_remove(const char *path);

#endif
