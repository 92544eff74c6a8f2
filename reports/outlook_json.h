/* An outlook for programs. */
#ifndef REPORTS_OUTLOOK_JSON_H
#define REPORTS_OUTLOOK_JSON_H

#include <jansson.h>

#include "reports/outlook.h"

/*
 * {"forecasts": [{matrix, cell, hash, ddp, bucket_mb, ranks, nodes, scaling, curve,
 * curve_beside, slowdown, slowdown_fitted, gather_slowdown, undivided, sharded_fitted,
 * ring: {step_ms, …}, tree: {…}, tokens_per_s, measured: {cell, step_ms,
 * comm_exposed_ms, scaling_efficiency, error_pct} or null}], "errors": {rows,
 * median_pct, most_pct}, "skipped": [], "model": [], "limits": []}. What is not known
 * is null. New reference.
 */
json_t *outlook_json(const struct outlook *o);

#endif
