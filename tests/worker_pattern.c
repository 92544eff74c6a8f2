/* The numbers that prove an all-reduce: exact in every type, and wrong sums show. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/convert.h"
#include "worker/pattern.h"
#include "worker/reduce.h"

enum { COUNT = 4096, FIRST = 1000003 };

static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};

/* What `world` ranks' parts add up to, as a device may: two at a time, from the last,
 * rounding to `type` each time. The caller frees it. */
static void *sum_of(enum dtype type, int world) {
    size_t bytes = COUNT * dtype_size(type);
    void *sum = malloc(bytes), *part = malloc(bytes);
    pattern_fill(sum, type, world - 1, FIRST, COUNT);
    for (int r = world - 2; r >= 0; r--) {
        void *const both[] = {sum, part};
        pattern_fill(part, type, r, FIRST, COUNT);
        reduce_sum(both, 2, COUNT, type);
    }
    free(part);
    return sum;
}

static int64_t find(const void *sum, enum dtype type, int world) {
    double found;
    return pattern_find_wrong(sum, type, world, FIRST, COUNT, &found);
}

static void sums_are_exact_in_every_type_for_any_ranks(void **state) {
    (void)state;
    static const int worlds[] = {2, 3, 8, 21, 22, 43, 64};
    for (size_t t = 0; t < 3; t++) {
        for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++) {
            void *sum = sum_of(types[t], worlds[w]);
            assert_int_equal(find(sum, types[t], worlds[w]), -1);
            free(sum);
        }
    }
}

static void no_partial_sum_leaves_what_bf16_holds(void **state) {
    (void)state;
    double least = 0, most = 0;
    for (int64_t i = 0; i < 1 << 20; i++) {
        double sum = pattern_sum(64, i);
        least = fmin(least, sum);
        most = fmax(most, sum);
    }
    assert_true(least < -64 && least >= -256);
    assert_true(most > 0 && most <= 256);
}

static void every_kind_of_wrong_sum_shows(void **state) {
    (void)state;
    for (size_t t = 0; t < 3; t++) {
        enum dtype type = types[t];
        size_t size = dtype_size(type);
        unsigned char *sum = sum_of(type, 4);
        // A rank too few or too many, in whole or in one part of the array.
        assert_in_range(find(sum, type, 3), FIRST, FIRST + 9);
        assert_in_range(find(sum, type, 5), FIRST, FIRST + 9);
        unsigned char *other = sum_of(type, 3);
        memcpy(sum + 2048 * size, other + 2048 * size, 1024 * size);
        assert_in_range(find(sum, type, 4), FIRST + 2048, FIRST + 2048 + 9);
        free(other);
        free(sum);
        // All of it one element further on.
        sum = sum_of(type, 4);
        memmove(sum, sum + size, (COUNT - 1) * size);
        assert_in_range(find(sum, type, 4), FIRST, FIRST + 9);
        free(sum);
        // One rank's own part, never summed; nothing at all.
        sum = sum_of(type, 1);
        assert_in_range(find(sum, type, 4), FIRST, FIRST + 9);
        memset(sum, 0, COUNT * size);
        assert_in_range(find(sum, type, 4), FIRST, FIRST + 9);
        free(sum);
    }
}

static void one_wrong_bit_or_no_number_is_found_where_it_is(void **state) {
    (void)state;
    for (size_t t = 0; t < 3; t++) {
        enum dtype type = types[t];
        size_t size = dtype_size(type);
        unsigned char *sum = sum_of(type, 2);
        int64_t at = COUNT - 1;
        while (pattern_sum(2, FIRST + at) == 0) {
            at--;
        }
        sum[(size_t)at * size] ^= 1;
        assert_int_equal(find(sum, type, 2), FIRST + at);
        sum[(size_t)at * size] ^= 1;
        assert_int_equal(find(sum, type, 2), -1);
        double found = 0;
        pattern_break(sum, type, 5);
        assert_int_equal(
                pattern_find_wrong(sum, type, 2, FIRST, COUNT, &found), FIRST + 5);
        assert_true(isnan(found));
        free(sum);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(sums_are_exact_in_every_type_for_any_ranks),
            cmocka_unit_test(no_partial_sum_leaves_what_bf16_holds),
            cmocka_unit_test(every_kind_of_wrong_sum_shows),
            cmocka_unit_test(one_wrong_bit_or_no_number_is_found_where_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
