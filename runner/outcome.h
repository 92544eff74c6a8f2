/* An attempt that has ended, turned into its record. */
#ifndef RUNNER_OUTCOME_H
#define RUNNER_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/record.h"
#include "matrix/spec.h"
#include "runner/launch.h"
#include "runner/machine.h"
#include "runner/rank.h"
#include "runner/verdict.h"

struct outcome {
    const char *folder;
    const struct spec *spec;
    const struct machine *machine;
    const struct rank *ranks; /* `count` of them; none where nothing was started */
    int count;
    const struct verdict *verdict;
    int64_t started_unix_ms, began_ms, ended_ms; /* the last two CLOCK_MONOTONIC */
    int leaked;
    const struct launch_gpus *gpus; /* NULL: nothing was started */
    const json_t *search; /* how `batch: max` was found; NULL where it was not */
    const char *limits;   /* what enforced memory_limit, "" where nothing did */
};

/* Fill `r`, which the caller finishes. Never fails: what is unknown stays unknown. */
void outcome_record(const struct outcome *o, struct record *r);

/*
 * Write <folder>/record.json, durably, for an attempt that ended without ranks to ask:
 * lost, or unsupported before anything was started.
 */
bool outcome_write_plain(const char *folder, const struct spec *spec,
        const struct machine *machine, enum status status, const char *sentence,
        int64_t started_unix_ms, struct text *err);

#endif
