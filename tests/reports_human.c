/* Numbers written for people. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reports/human.h"

static void assert_shown(enum human_kind kind, double x, const char *expected) {
    struct text t = {0};
    human_number(&t, kind, x);
    assert_string_equal(text_get(&t), expected);
    text_finish(&t);
}

static void unknown_adds_nothing(void **state) {
    (void)state;
    for (int kind = HUMAN_COUNT; kind <= HUMAN_PLAIN; kind++) {
        assert_shown((enum human_kind)kind, NAN, "");
        assert_shown((enum human_kind)kind, INFINITY, "");
    }
}

static void counts_are_grouped_by_thousands(void **state) {
    (void)state;
    assert_shown(HUMAN_COUNT, 0, "0");
    assert_shown(HUMAN_COUNT, 999, "999");
    assert_shown(HUMAN_COUNT, 1000, "1,000");
    assert_shown(HUMAN_COUNT, 124475904, "124,475,904");
    assert_shown(HUMAN_COUNT, -1234, "−1,234");
}

static void short_numbers_keep_three_digits(void **state) {
    (void)state;
    assert_shown(HUMAN_SHORT, 845, "845");
    assert_shown(HUMAN_SHORT, 8.4567, "8.46");
    assert_shown(HUMAN_SHORT, 12345, "12.3k");
    assert_shown(HUMAN_SHORT, 999499, "999k");
    assert_shown(HUMAN_SHORT, 999500, "1.00M");
    assert_shown(HUMAN_SHORT, 124475904, "124M");
}

static void bytes_are_shown_in_mib(void **state) {
    (void)state;
    assert_shown(HUMAN_BYTES, 0, "0 MiB");
    assert_shown(HUMAN_BYTES, 1048576 * 1.5, "1.50 MiB");
    assert_shown(HUMAN_BYTES, 1048576 * 41.24, "41.2 MiB");
    assert_shown(HUMAN_BYTES, 4608, "0.0044 MiB");
    assert_shown(HUMAN_BYTES, 1048576 * 30543.0, "30,543 MiB");
    assert_shown(HUMAN_BYTES, -1048576 * 2.0, "−2.00 MiB");
}

static void durations_change_unit_as_they_grow(void **state) {
    (void)state;
    assert_shown(HUMAN_SECONDS, 1.234, "1.23 s");
    assert_shown(HUMAN_SECONDS, 59.9, "59.9 s");
    assert_shown(HUMAN_SECONDS, 59.96, "1 min 00 s");
    assert_shown(HUMAN_SECONDS, 125, "2 min 05 s");
    assert_shown(HUMAN_SECONDS, 3599.7, "1 h 00 min");
    assert_shown(HUMAN_SECONDS, 7380, "2 h 03 min");
    assert_shown(HUMAN_MS, 12.345, "12.3 ms");
    assert_shown(HUMAN_MS, 0, "0 ms");
}

static void changes_carry_their_sign(void **state) {
    (void)state;
    assert_shown(HUMAN_CHANGE, 12.34, "+12.3 %");
    assert_shown(HUMAN_CHANGE, -4, "−4.0 %");
    assert_shown(HUMAN_CHANGE, 0, "0.0 %");
    assert_shown(HUMAN_CHANGE, -0.01, "0.0 %");
    assert_shown(HUMAN_RATIO, 1.8412, "1.84×");
    assert_shown(HUMAN_RATIO, 12.34, "12.3×");
    assert_shown(HUMAN_PERCENT, 93.14, "93.1 %");
}

static void perplexities_keep_four_digits(void **state) {
    (void)state;
    assert_shown(HUMAN_REAL, 5.12345, "5.123");
    assert_shown(HUMAN_REAL, 10800000, "10,800,000");
    assert_shown(HUMAN_REAL, 0.00001234, "1.23e-05");
    assert_shown(HUMAN_REAL, 0, "0");
}

static void times_are_utc_and_unknown_ones_empty(void **state) {
    (void)state;
    struct text t = {0};
    human_time(&t, 0);
    assert_string_equal(text_get(&t), "");
    human_time(&t, 1000000000000);
    assert_string_equal(text_get(&t), "2001-09-09 01:46:40 UTC");
    text_finish(&t);
}

static void settings_stay_as_they_are_written(void **state) {
    (void)state;
    assert_shown(HUMAN_PLAIN, 0.001, "0.001");
    assert_shown(HUMAN_PLAIN, 2.5, "2.5");
    assert_shown(HUMAN_PLAIN, 10, "10");
    assert_shown(HUMAN_PLAIN, 65536, "65536");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(settings_stay_as_they_are_written),
            cmocka_unit_test(unknown_adds_nothing),
            cmocka_unit_test(counts_are_grouped_by_thousands),
            cmocka_unit_test(short_numbers_keep_three_digits),
            cmocka_unit_test(bytes_are_shown_in_mib),
            cmocka_unit_test(durations_change_unit_as_they_grow),
            cmocka_unit_test(changes_carry_their_sign),
            cmocka_unit_test(perplexities_keep_four_digits),
            cmocka_unit_test(times_are_utc_and_unknown_ones_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
