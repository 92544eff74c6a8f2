/*
 * Fresh or stale, design §1: a result counts only beside results of the same worker
 * build, data and machine. Reports know nothing but the folder, so the newest record of
 * each worker and of each data set says what today's is.
 */
#ifndef REPORTS_FRESH_H
#define REPORTS_FRESH_H

#include <stdbool.h>

#include "matrix/record.h"
#include "matrix/results.h"
#include "matrix/text.h"

struct fresh; /* opaque */

/* Reads `results`, which must outlive it; the caller owes fresh_destroy(). */
struct fresh *fresh_create(const struct results *results);
void fresh_destroy(struct fresh *f); /* NULL is fine */

/*
 * Whether `r` is today's. Where not, `because` gains what differs: "worker build,
 * data". What a record does not know does not make it stale.
 */
bool fresh_check(const struct fresh *f, const struct record *r, struct text *because);

/* Append worker build, data digest and machine in one line; equal lines may mix. */
void fresh_signature(const struct record *r, struct text *out);

/* Append a field of the provenance as text; nothing where it is absent or null. */
void fresh_provenance(const struct record *r, const char *field, struct text *out);

/* A number of the provenance, NAN where it is absent. */
double fresh_provenance_number(const struct record *r, const char *field);

#endif
