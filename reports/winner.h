/* The winners of one workload in words: fastest, leanest, best, and what ties with
 * them. */
#ifndef REPORTS_WINNER_H
#define REPORTS_WINNER_H

#include "reports/candidate.h"
#include "reports/page.h"

/* Append a list of sentences; a workload with one candidate says that it has no rival.
 */
void winner_add(struct page *p, const struct workload *w);

#endif
