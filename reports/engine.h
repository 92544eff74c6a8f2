/* Engines side by side: within a workload each has its own best technique, so that no
 * pair of cells that are alike in all else compares them. */
#ifndef REPORTS_ENGINE_H
#define REPORTS_ENGINE_H

#include "reports/page.h"

/* Append to the answer how the first engine does against each of the others, each at
 * its fastest and at its leanest; nothing where no workload has two engines. */
void engine_answer(struct page *p);

#endif
