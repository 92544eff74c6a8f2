/*
 * Engines side by side. They are served best by different techniques, so pairs of cells
 * that are alike in all else say little of them: here each stands with its fastest and
 * its leanest cell of a workload.
 */
#ifndef REPORTS_ENGINE_H
#define REPORTS_ENGINE_H

#include "reports/page.h"

/* Append to the answer how the first engine does against each of the others that share
 * a workload with it; nothing where none does. */
void engine_answer(struct page *p);

#endif
