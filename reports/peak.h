/*
 * What a GPU could do at most, design §8: dense floating-point operations a second, by
 * its name as CUDA tells it and by precision, the denominator of MFU and HFU; and bytes
 * a second. What an op cannot be faster than.
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

/* The same at another clock of its multiprocessors than the one it is quoted at. */
double peak_flops_at(const char *device, int64_t precision, double clock_mhz);

/* Bytes a second that its memory reads and writes at most. NAN likewise. */
double peak_bandwidth(const char *device);

#endif
