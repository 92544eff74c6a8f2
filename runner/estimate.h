/*
 * The largest batch whose plan fits into memory, by the worker's own `plan` and
 * `memory`: where a search for it begins. No proof: a plan counts neither a device's
 * context nor what libraries take unasked.
 */
#ifndef RUNNER_ESTIMATE_H
#define RUNNER_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/spec.h"

struct estimate {
    const struct spec *spec;
    int64_t limit_bytes; /* that one rank may take; 0 unknown */
};

/* `spec` must outlive `e`. Asks what is free: on the GPUs at the PCI addresses
 * `bus_ids` (NULL-terminated), where the cell has any. */
void estimate_init(struct estimate *e, const struct spec *spec, char *const *bus_ids);

/* Learn that only `bytes` are free (−1: unknown). Whether that is news. */
bool estimate_limit(struct estimate *e, int64_t bytes);

/* To within bracket_step(); 0 where neither plan nor memory can be asked. */
int64_t estimate_batch(const struct estimate *e);

#endif
