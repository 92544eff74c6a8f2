/*
 * The report of one matrix: everything a reader gets to see, rebuilt from the results
 * folder alone. The back end of `runner report`, also called at the end of every run.
 */
#ifndef REPORTS_REPORT_H
#define REPORTS_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "matrix/text.h"

/*
 * Read `matrix_folder` (results/<matrix>) and write beside its plan.json
 * <matrix>_results.csv, <matrix>_report.md, one <matrix>_<table>.csv per table, and
 * <matrix>_steps.csv; print the comparison table to `out` where it is not NULL. Each
 * file is replaced whole; none of the records is touched.
 *
 * What is fresh and what is stale is judged from the records: the newest attempt of
 * each worker, data set and machine counts as today's. A torn or corrupt record is
 * listed in the report with its file's name and fails nothing. False only where
 * plan.json cannot be read or a file cannot be written; what was written before then
 * stays.
 */
bool report_write(const char *matrix_folder, FILE *out, struct text *err);

#endif
