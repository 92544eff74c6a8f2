/*
 * What a GPU could do at most, design §8: dense floating-point operations a second, by
 * its name as CUDA tells it and by precision. The denominator of MFU and HFU.
 */
#ifndef REPORTS_PEAK_H
#define REPORTS_PEAK_H

#include "matrix/axes.h"

/*
 * Operations a second of products in `precision` (PRECISION_…): without sparsity, sums
 * in fp32; fp32 itself on the ordinary cores. `device` with or without "NVIDIA " before
 * it. NAN for what is not in the list, a part of a GPU (MIG) among it.
 */
double peak_flops(const char *device, int64_t precision);

#endif
