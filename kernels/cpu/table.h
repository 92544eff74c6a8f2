/*
 * The builds of the fast CPU kernels, one for each instruction set.
 */
#ifndef KERNELS_CPU_TABLE_H
#define KERNELS_CPU_TABLE_H

#include "kernels/kernels.h"

/* Override the entries of `k` that a build has, and leave the others as they are. */
void table_fill_cpu(struct kernels *k);
void table_fill_cpu_avx2(struct kernels *k);
void table_fill_cpu_avx512(struct kernels *k);

/* The table of build `index`, the narrowest first; NULL past the last one that this
 * machine can run. For tests: kernels_cpu() is the widest. */
const struct kernels *cpu_build(int index);

#endif
