/*
 * What the runner sees of a search for the largest batch while its supervisor makes it:
 * the records of finished probes, each told once.
 */
#ifndef RUNNER_PROBES_H
#define RUNNER_PROBES_H

#include <stddef.h>
#include <stdint.h>

#include "runner/progress.h"

/* Those of one attempt; zeroed where none was told yet. */
struct probes {
    int64_t *told; /* their batches */
    size_t count;
};

/* Say which have ended below the attempt's `folder` since the last call, in order. */
void probes_tell(struct probes *p, const char *folder, struct progress *progress);

void probes_finish(struct probes *p);

#endif
