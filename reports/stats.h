/* Statistics over few values: what repeats and steps are summed up by. */
#ifndef REPORTS_STATS_H
#define REPORTS_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* All of NAN where there were no known values. */
struct stats {
    size_t count; /* known values; NAN and infinite ones are left out */
    double median, minimum, maximum, mean;
    double deviation; /* sample standard deviation; NAN below two values */
};

struct stats stats_of(const double *values, size_t count);

/*
 * The q-quantile (0 … 1) of the known values, between two of them by linear
 * interpolation (Hyndman and Fan's type 7, as numpy does). NAN where none is known.
 */
double stats_quantile(const double *values, size_t count, double q);

/* (maximum − minimum) ÷ median in percent; NAN below two values or around zero. */
double stats_spread_pct(const struct stats *s);

/* a ÷ b, NAN where either is unknown, b is 0 or the result is not finite. */
double stats_ratio(double a, double b);

/* A value with what is known of its noise: it may as well have been low … high. */
struct range {
    double value, low, high; /* NAN where unknown */
};

/* Whether two measured values cannot be told apart: their ranges meet. */
bool stats_meet(const struct range *a, const struct range *b);

/* How one measured value stands to another. */
enum stats_order {
    STATS_UNKNOWN, /* one of them is */
    STATS_MEET,    /* their ranges do */
    STATS_MORE,
    STATS_LESS
};

enum stats_order stats_order(const struct range *a, const struct range *b);

#endif
