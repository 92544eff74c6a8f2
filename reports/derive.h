/*
 * Derived metrics, design §8: what it takes two cells, or a table, to say. Speed-up and
 * memory saving against the matrix's baseline cell; scaling efficiency and memory
 * overhead against the one-rank cell that is alike, on a GPU of the cell's own if there
 * is one; where it ran on several of them (`first_gpu`), efficiency is against what
 * each does. And MFU and HFU, against what the device could do.
 */
#ifndef REPORTS_DERIVE_H
#define REPORTS_DERIVE_H

#include <stdbool.h>

#include "reports/tally.h"

/*
 * Fill the derived metrics, `scaling…`, `baseline…` and `mfu…` of tallies whose
 * measured metrics are known; tallies_init() calls it last. Only cells that are ok and
 * fresh are held against each other; the others keep NAN, and say why.
 */
void derive_metrics(struct tallies *o);

/*
 * Whether two cells belong to one scaling series: alike but for ranks, the first GPU,
 * wrapper, bucket size and the threads asked for, and neither excluded.
 */
bool derive_is_series(const struct tally *a, const struct tally *b);

#endif
