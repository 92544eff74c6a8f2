/*
 * plan.json: the whole matrix as of the last run, plus the cells that `--set` runs
 * made. And `plan --json`, which prints the same shape: {"format": 1, "matrix": …,
 * "description": …, "baseline": …, "source": path, "command": …, "cells": [{"cell",
 * "experiment", "hash", "tags": […], "expect", "params": {…}}], "excluded": [{… ,
 * "because"}]}.
 */
#ifndef MATRIX_PLAN_H
#define MATRIX_PLAN_H

#include <jansson.h>
#include <stdbool.h>

#include "matrix/cell.h"
#include "matrix/text.h"

struct plan {
    char *matrix, *description, *baseline, *source, *command;
    struct cells cells; /* excluded ones included */
};

void plan_finish(struct plan *p);
bool plan_read(const char *path, struct plan *p, struct text *err);
bool plan_write(const char *path, const struct plan *p, struct text *err);

/* New reference. `selected_only`: what `plan --json` prints. */
json_t *plan_to_json(const struct plan *p, bool selected_only);

/*
 * Merge the plan on disk into `now`: cells of `old` that are neither in `now` nor of
 * the document itself (made by an earlier `--set`) are kept at the end.
 */
void plan_merge(struct plan *now, const struct plan *old);

#endif
