#include <math.h>
#include <stdlib.h>

#include "worker/statistics.h"

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double statistics_quantile(double *values, int64_t count, double q) {
    if (count <= 0) {
        return NAN;
    }
    qsort(values, (size_t)count, sizeof *values, compare);
    double position = q * (double)(count - 1);
    int64_t below = (int64_t)position;
    int64_t above = below + 1 < count ? below + 1 : below;
    double share = position - (double)below;
    return values[below] + share * (values[above] - values[below]);
}
