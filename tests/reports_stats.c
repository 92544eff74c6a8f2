/* Statistics over few values, with holes among them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reports/stats.h"

static void assert_close(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-12 * fmax(1, fabs(expected)))) {
        fail_msg("found %.17g, expected %.17g", found, expected);
    }
}

static void median_of_odd_and_even_counts(void **state) {
    (void)state;
    assert_close(stats_of((double[]){3, 1, 2}, 3).median, 2);
    assert_close(stats_of((double[]){4, 1, 3, 2}, 4).median, 2.5);
}

static void unknown_values_are_left_out_not_counted_as_zero(void **state) {
    (void)state;
    struct stats s = stats_of((double[]){NAN, 10, INFINITY, 20, NAN}, 5);
    assert_int_equal(s.count, 2);
    assert_close(s.median, 15);
    assert_close(s.minimum, 10);
    assert_close(s.maximum, 20);
}

static void nothing_known_is_unknown_everywhere(void **state) {
    (void)state;
    struct stats s = stats_of((double[]){NAN}, 1);
    assert_int_equal(s.count, 0);
    assert_true(isnan(s.median) && isnan(s.mean) && isnan(s.minimum));
    assert_true(isnan(s.deviation) && isnan(stats_spread_pct(&s)));
    assert_true(isnan(stats_of(NULL, 0).median));
}

static void deviation_divides_by_n_minus_one(void **state) {
    (void)state;
    struct stats s = stats_of((double[]){2, 4, 4, 4, 5, 5, 7, 9}, 8);
    assert_close(s.mean, 5);
    assert_close(s.deviation, sqrt(32.0 / 7));
    assert_true(isnan(stats_of((double[]){1}, 1).deviation));
}

static void quantiles_interpolate_as_numpy_does(void **state) {
    (void)state;
    double x[] = {1, 2, 3, 4};
    assert_close(stats_quantile(x, 4, 0.1), 1.3);
    assert_close(stats_quantile(x, 4, 0.9), 3.7);
    assert_close(stats_quantile(x, 4, 0), 1);
    assert_close(stats_quantile(x, 4, 1), 4);
    assert_true(isnan(stats_quantile(x, 0, 0.5)));
}

static void spread_is_range_over_median(void **state) {
    (void)state;
    struct stats s = stats_of((double[]){90, 100, 110}, 3);
    assert_close(stats_spread_pct(&s), 20);
    s = stats_of((double[]){-1, 0, 1}, 3);
    assert_true(isnan(stats_spread_pct(&s)));
}

static void ratio_never_divides_by_zero(void **state) {
    (void)state;
    assert_close(stats_ratio(6, 3), 2);
    assert_true(isnan(stats_ratio(6, 0)));
    assert_true(isnan(stats_ratio(NAN, 3)));
    assert_true(isnan(stats_ratio(3, NAN)));
    assert_true(isnan(stats_ratio(1e308, 1e-308)));
}

static void ranges_meet_at_their_edges_but_unknown_ones_never(void **state) {
    (void)state;
    struct range a = {10, 9, 11};
    struct range b = {12, 11, 13};
    struct range c = {14, 13.5, 15};
    struct range unknown = {NAN, NAN, NAN};
    assert_true(stats_meet(&a, &b));
    assert_true(stats_meet(&b, &a));
    assert_false(stats_meet(&a, &c));
    assert_false(stats_meet(&a, &unknown));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(median_of_odd_and_even_counts),
            cmocka_unit_test(unknown_values_are_left_out_not_counted_as_zero),
            cmocka_unit_test(nothing_known_is_unknown_everywhere),
            cmocka_unit_test(deviation_divides_by_n_minus_one),
            cmocka_unit_test(quantiles_interpolate_as_numpy_does),
            cmocka_unit_test(spread_is_range_over_median),
            cmocka_unit_test(ratio_never_divides_by_zero),
            cmocka_unit_test(ranges_meet_at_their_edges_but_unknown_ones_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
