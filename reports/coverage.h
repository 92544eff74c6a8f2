/* Coverage: how much of the plan there is a result of, and whether it ended as stated.
 */
#ifndef REPORTS_COVERAGE_H
#define REPORTS_COVERAGE_H

#include "reports/page.h"

/* Append what came of the cells, in a paragraph or two; never nothing. */
void coverage_add(struct page *p);

#endif
