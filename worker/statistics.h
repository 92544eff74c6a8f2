/* Order statistics of a run's step times. */
#ifndef WORKER_STATISTICS_H
#define WORKER_STATISTICS_H

#include <stdint.h>

/*
 * The `q` quantile (0 … 1) of `count` values, between neighbours by linear
 * interpolation; sorts `values`. NaN where count is 0.
 */
double statistics_quantile(double *values, int64_t count, double q);

#endif
