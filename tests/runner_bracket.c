/* Searching for the largest batch that trains, against limits that are known here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runner/bracket.h"

/* Search where batches up to `limit` train; how many probes it took. */
static int search(struct bracket *b, int64_t hint, int64_t limit) {
    int probes = 0;
    int64_t batch;
    bracket_init(b, BRACKET_MOST);
    bracket_hint(b, hint);
    while ((batch = bracket_next(b))) {
        assert_in_range(batch, 1, BRACKET_MOST);
        assert_true(batch > b->low && batch < b->high);
        bracket_learn(b, batch, batch <= limit);
        assert_true(++probes < 100);
    }
    return probes;
}

static void every_limit_is_found_whatever_the_hint(void **state) {
    (void)state;
    static const int64_t limits[] = {1, 2, 3, 7, 8, 63, 64, 99, 100, 101, 1000, 4097,
            999999, BRACKET_MOST - 1, BRACKET_MOST, BRACKET_MOST + 1};
    static const int64_t hints[] = {
            0, 1, 2, 50, 100, 990, 1010, BRACKET_MOST, INT64_MAX};
    struct bracket b;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        for (size_t j = 0; j < sizeof hints / sizeof *hints; j++) {
            search(&b, hints[j], limits[i]);
            int64_t most = limits[i] < BRACKET_MOST ? limits[i] : BRACKET_MOST;
            assert_true(b.low <= most);
            assert_true(most - b.low < bracket_step(b.low) || most == b.low);
        }
    }
}

static void nothing_above_the_most_is_tried(void **state) {
    (void)state;
    static const int64_t hints[] = {0, 1, 60, 123, 124, 125, 5000};
    struct bracket b;
    int64_t batch;
    for (int64_t most = 1; most <= 124; most++) {
        for (int64_t limit = 0; limit <= 130; limit++) {
            for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
                bracket_init(&b, most);
                bracket_hint(&b, hints[i]);
                while ((batch = bracket_next(&b))) {
                    assert_in_range(batch, 1, most);
                    bracket_learn(&b, batch, batch <= limit);
                }
                int64_t best = limit < most ? limit : most;
                assert_true(b.low <= best);
                assert_true(best - b.low < bracket_step(b.low) || best == b.low);
            }
        }
    }
    bracket_init(&b, 124);
    bracket_hint(&b, 124);
    assert_int_equal(bracket_next(&b), 124);
    bracket_learn(&b, 124, true);
    assert_int_equal(bracket_next(&b), 0);
}

static void small_batches_are_found_exactly(void **state) {
    (void)state;
    struct bracket b;
    for (int64_t limit = 1; limit < 100; limit++) {
        search(&b, 0, limit);
        assert_int_equal(b.low, limit);
    }
}

static void right_hint_takes_two_probes(void **state) {
    (void)state;
    struct bracket b;
    assert_int_equal(search(&b, 37, 37), 2);
    assert_int_equal(search(&b, 5000, 5000), 2);
}

static void without_a_hint_it_doubles(void **state) {
    (void)state;
    struct bracket b;
    bracket_init(&b, BRACKET_MOST);
    for (int64_t batch = 1; batch <= 64; batch *= 2) {
        assert_int_equal(bracket_next(&b), batch);
        bracket_learn(&b, batch, true);
    }
}

static void nothing_trains(void **state) {
    (void)state;
    struct bracket b;
    assert_int_equal(search(&b, 0, 0), 1);
    assert_int_equal(b.low, 0);
    search(&b, 300, 0);
    assert_int_equal(b.low, 0);
    assert_int_equal(b.high, 1);
}

static void better_hint_on_the_way_is_taken(void **state) {
    (void)state;
    struct bracket b;
    bracket_init(&b, BRACKET_MOST);
    bracket_hint(&b, 400);
    assert_int_equal(bracket_next(&b), 400);
    bracket_learn(&b, 400, false);
    bracket_hint(&b, 380);
    assert_int_equal(bracket_next(&b), 380);
    bracket_learn(&b, 380, true);
    assert_int_equal(bracket_next(&b), 390);
    bracket_hint(&b, 500); // known to be wrong
    assert_int_equal(bracket_next(&b), 390);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_limit_is_found_whatever_the_hint),
            cmocka_unit_test(nothing_above_the_most_is_tried),
            cmocka_unit_test(small_batches_are_found_exactly),
            cmocka_unit_test(right_hint_takes_two_probes),
            cmocka_unit_test(without_a_hint_it_doubles),
            cmocka_unit_test(nothing_trains),
            cmocka_unit_test(better_hint_on_the_way_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
