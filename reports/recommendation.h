/* Recommendations: who wins which workload, in a table and summed up in words. */
#ifndef REPORTS_RECOMMENDATION_H
#define REPORTS_RECOMMENDATION_H

#include <stddef.h>

#include "reports/page.h"

/* What the sign behind a figure in the table means. */
#define RECOMMENDATION_NOTE                                                            \
    TABLE_NOTE " A tie: others are within noise of it, or count as equal."

/*
 * A row for each workload that has `least` candidates or more. Where several tie, the
 * row names the one that measured best, its figure is noted, and CSV has how many
 * others tie with it.
 */
void recommendation_fill(const struct page *p, size_t least, struct table *t);

/* What tells workloads apart, as the table does: by what differs between candidates
 * and is no technique. */
struct context recommendation_workloads(const struct page *p);

/*
 * Append a line each for speed, memory and quality: what wins how many workloads. Only
 * those in which there was a choice count; one that ends in a tie is won by nobody.
 */
void recommendation_add_wins(struct page *p);

#endif
