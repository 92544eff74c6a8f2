#include "reports/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/text.h"

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

// A sorted copy of the finite values; the caller frees it.
static double *known(const double *values, size_t count, size_t *kept) {
    double *copy = text_allocate(count * sizeof *copy);
    *kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (isfinite(values[i])) {
            copy[(*kept)++] = values[i];
        }
    }
    qsort(copy, *kept, sizeof *copy, by_value);
    return copy;
}

static double quantile_of_sorted(const double *sorted, size_t count, double q) {
    if (count == 0) {
        return NAN;
    }
    double position = q * (double)(count - 1);
    size_t below = (size_t)position;
    size_t above = below + 1 < count ? below + 1 : below;
    double weight = position - (double)below;
    return sorted[below] + weight * (sorted[above] - sorted[below]);
}

double stats_quantile(const double *values, size_t count, double q) {
    size_t kept;
    double *sorted = known(values, count, &kept);
    double result = quantile_of_sorted(sorted, kept, q);
    free(sorted);
    return result;
}

struct stats stats_of(const double *values, size_t count) {
    struct stats s = {0, NAN, NAN, NAN, NAN, NAN};
    size_t kept;
    double *sorted = known(values, count, &kept);
    s.count = kept;
    if (kept) {
        double sum = 0;
        for (size_t i = 0; i < kept; i++) {
            sum += sorted[i];
        }
        s.mean = sum / (double)kept;
        s.minimum = sorted[0];
        s.maximum = sorted[kept - 1];
        s.median = quantile_of_sorted(sorted, kept, 0.5);
    }
    if (kept >= 2) {
        double squares = 0;
        for (size_t i = 0; i < kept; i++) {
            squares += (sorted[i] - s.mean) * (sorted[i] - s.mean);
        }
        s.deviation = sqrt(squares / (double)(kept - 1));
    }
    free(sorted);
    return s;
}

double stats_spread_pct(const struct stats *s) {
    if (s->count < 2) {
        return NAN;
    }
    return 100 * stats_ratio(s->maximum - s->minimum, s->median);
}

double stats_ratio(double a, double b) {
    if (!isfinite(a) || !isfinite(b) || b == 0) {
        return NAN;
    }
    double ratio = a / b;
    return isfinite(ratio) ? ratio : NAN;
}

bool stats_meet(const struct range *a, const struct range *b) {
    return a->low <= b->high && b->low <= a->high;
}

enum stats_order stats_order(const struct range *a, const struct range *b) {
    return !isfinite(a->value) || !isfinite(b->value) ? STATS_UNKNOWN
           : stats_meet(a, b)                         ? STATS_MEET
           : a->value > b->value                      ? STATS_MORE
                                                      : STATS_LESS;
}
