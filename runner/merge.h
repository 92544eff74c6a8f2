/*
 * From what the ranks said to what the attempt's record says: metrics merged by the
 * rules of matrix/metric, memory by kind, and the facts that enter provenance.
 */
#ifndef RUNNER_MERGE_H
#define RUNNER_MERGE_H

#include <jansson.h>

#include "runner/rank.h"

/*
 * The attempt's metrics from the ranks' results; new reference, empty where no rank had
 * one. A value that is null, not a number or of no known metric is left out.
 */
json_t *merge_metrics(const struct rank *ranks, int count);

/* Rank 0's memory by kind, as an array; new reference. */
json_t *merge_memory(const struct rank *ranks, int count);

/*
 * Add to `provenance` what rank 0's hello and result say that is no metric: build,
 * device, data digest and the like. What is there already stays.
 */
void merge_facts(const struct rank *ranks, int count, json_t *provenance);

#endif
