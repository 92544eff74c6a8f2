/*
 * Cells that ran while others did, as `--jobs` and two runners on one host let them:
 * each took cores, memory and power that the other's timings then lack.
 */
#ifndef REPORTS_NEIGHBOUR_H
#define REPORTS_NEIGHBOUR_H

#include <stdbool.h>

#include "matrix/text.h"
#include "reports/tally.h"

/*
 * Append "2 of 7 cells ran beside others on one machine": cells with a fresh result,
 * some attempt of which shared its time and boot with another attempt of the folder,
 * one that does not count included. False, and nothing appended, where none did or the
 * matrix is not of timings.
 */
bool neighbour_add_count(const struct tallies *o, struct text *out);

#endif
