/*
 * plan.json: the whole matrix as of the last run, plus the cells that `--set` runs
 * made. And `plan --json`, which prints the same shape:
 *
 *   {"format": 1, "matrix": …, "description": …, "baseline": …, "source": path,
 *    "commands": […], "cells": [{"cell", "experiment", "hash", "position", "tags": […],
 *    "expect", "from_set", "params": {…}}], "excluded": [{…, "because"}]}
 *
 * `params` holds the parameters that differ from their default: the others are those of
 * `runner plan --help`. `position` counts cells and excluded ones together, in the
 * order of the file. `baseline` is the id of the baseline's one cell, "" where the file
 * names none. `commands` are those that filled the folder, each once, in the order they
 * were first given; a file that has a single `command` instead is older, and is read.
 */
#ifndef MATRIX_PLAN_H
#define MATRIX_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "matrix/cell.h"
#include "matrix/text.h"

struct plan {
    char *matrix, *description, *baseline, *source;
    char **commands;
    size_t command_count;
    struct cells cells; /* excluded ones included */
};

/*
 * The plan of one document: copies of those of `cells` that are its own. `command` is
 * how to run it again, "" for none. The caller keeps everything and owes plan_finish().
 */
void plan_init(struct plan *p, const struct document *d, const struct cells *cells,
        const char *command);

/* Free what `p` owns and zero it; a zeroed plan is fine. */
void plan_finish(struct plan *p);

/* On failure (missing, torn, no plan, unknown format) `p` is zeroed. Cells read back
 * are selected. */
bool plan_read(const char *path, struct plan *p, struct text *err);

/* As plan_read() from memory; `name` stands for the path in sentences. */
bool plan_parse(const char *name, const char *bytes, size_t size, struct plan *p,
        struct text *err);

/* Durable and whole: file_write(). */
bool plan_write(const char *path, const struct plan *p, struct text *err);

/* New reference. `selected_only`: what `plan --json` prints. */
json_t *plan_to_json(const struct plan *p, bool selected_only);

/*
 * Add to `now` those cells of `old` that `--set` made and that `now` has not, by id and
 * hash; where `now` has the cell as an excluded one, `--set` brings it back. Every
 * other cell of `old` is gone from the file, and goes. Cells are copied. The commands
 * of `old` come before those of `now`.
 */
void plan_merge(struct plan *now, const struct plan *old);

#endif
