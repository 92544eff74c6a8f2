/* Recommendations: who wins which workload, in a table and summed up in words. */
#ifndef REPORTS_RECOMMENDATION_H
#define REPORTS_RECOMMENDATION_H

#include <stddef.h>

#include "reports/page.h"

/* A row for each workload that has `least` candidates or more. */
void recommendation_fill(const struct page *p, size_t least, struct table *t);

/* Append a line each for speed, memory and quality: what wins how many workloads. Only
 * those in which there was a choice count. */
void recommendation_add_wins(struct page *p);

#endif
