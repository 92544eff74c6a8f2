/*
 * The results folder, design §7, read back: which cells a matrix has, what each attempt
 * left. The one place that knows the folder's layout; reports, resume, compare and
 * clean all read through it. Nothing here writes.
 */
#ifndef MATRIX_RESULTS_H
#define MATRIX_RESULTS_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/plan.h"
#include "matrix/record.h"
#include "matrix/text.h"

struct result_attempt {
    int number; /* N of attempt-N */
    char *folder;
    bool recorded; /* false: running, or its supervisor died (see runner/store) */
    char *damage;  /* why record.json could not be read; NULL where it could */
    struct record record; /* zeroed unless recorded and not damaged */
};

struct result_cell {
    const struct cell *cell;         /* in the plan below */
    struct result_attempt *attempts; /* ascending */
    size_t attempt_count;
};

struct results {
    char *folder; /* results/<matrix> */
    struct plan plan;
    struct result_cell *cells; /* one per plan cell, excluded ones included */
    size_t count;
};

void results_finish(struct results *r);

/* Whether `folder` is some results/<matrix>: it has a plan.json. */
bool results_are_in(const char *folder);

/*
 * Read `folder` (results/<matrix>): plan.json and every record. A record that is torn,
 * or another attempt's, is damage of that attempt and no failure. Fails, `r` zeroed,
 * where there is no readable plan or a folder cannot be listed.
 */
bool results_read(const char *folder, struct results *r, struct text *err);

/*
 * Read record.json of attempt `number` in `folder`. False for damage: one that is
 * missing or torn, or names another cell or attempt; an attempt with a damaged record
 * counts as lost. `r` is then zeroed.
 */
bool results_read_record(const char *folder, const struct cell *cell, int number,
        struct record *r, struct text *err);

/* Path of a cell's folder below a matrix folder: "cells/<id made path-safe>-<hash>". */
void results_cell_folder(const char *matrix_folder, const char *cell_id,
        const char *hash, struct text *out);

#endif
