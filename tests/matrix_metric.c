/* Metrics: one list, no name twice, found by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/metric.h"

static void every_metric_is_found_by_its_name(void **state) {
    (void)state;
    assert_true(metric_count > 40);
    for (int i = 0; i < metric_count; i++) {
        // A name that stood twice would find the first.
        assert_ptr_equal(metric_find(metrics[i].name), &metrics[i]);
        assert_true(strlen(metrics[i].help) > 0);
        assert_non_null(metrics[i].unit);
    }
    assert_null(metric_find("tokens"));
}

static void what_only_reports_compute_comes_last(void **state) {
    (void)state;
    for (int i = 1; i < metric_count; i++) {
        assert_true(metrics[i - 1].per_attempt || !metrics[i].per_attempt);
    }
    assert_false(metric_find("speedup")->per_attempt);
    assert_true(metric_find("skipped_steps")->per_attempt);
    assert_int_equal(metric_find("window_tokens")->rule, METRIC_SUM);
    assert_int_equal(metric_find("window_ms")->rule, METRIC_MAXIMUM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_metric_is_found_by_its_name),
            cmocka_unit_test(what_only_reports_compute_comes_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
