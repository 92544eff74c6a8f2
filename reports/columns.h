/*
 * The columns of <matrix>_results.csv: one row per planned cell, excluded and not yet
 * run ones included. First cell, hash, status; then every parameter, every metric, and
 * what describes the result itself. reports/COLUMNS.md documents them and a test holds
 * the two together; columns are found by name, and their number only ever grows.
 */
#ifndef REPORTS_COLUMNS_H
#define REPORTS_COLUMNS_H

#include "matrix/text.h"
#include "reports/tally.h"

int columns_count(void);

/* Name, unit ("" where it has none) and meaning of one column, in order. */
const char *columns_name(int column);
const char *columns_unit(int column);
const char *columns_help(int column);

/* The whole file. */
void columns_add_csv(struct text *out, const struct tallies *o);

#endif
