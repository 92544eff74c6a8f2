/* Adding up arrays of every type: order, rounding, and numbers that are none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/reduce.h"

static void floats_add_in_the_order_of_parts(void **state) {
    (void)state;
    // (1e8 + 1) − 1e8 is 0 in fp32, any other order gives 1.
    float a[3] = {1e8f, 1, 2}, b[3] = {1, 1, 2}, c[3] = {-1e8f, 1, 2};
    void *parts[] = {a, b, c};
    reduce_sum(parts, 3, 3, DTYPE_F32);
    float expected[3] = {0, 3, 6};
    assert_memory_equal(a, expected, sizeof a);
    assert_memory_equal(b, expected, sizeof b);
    assert_memory_equal(c, expected, sizeof c);
}

static void doubles_keep_their_precision(void **state) {
    (void)state;
    double a[1] = {1}, b[1] = {0x1p-50};
    void *parts[] = {a, b};
    reduce_sum(parts, 2, 1, DTYPE_F64);
    assert_true(a[0] == 1 + 0x1p-50 && b[0] == a[0]);
}

static void bf16_rounds_to_nearest_even_once(void **state) {
    (void)state;
    // 1, 1 + 2^−7 and 2^−8, 2^−9: ties go to even; two halves of a unit make one.
    uint16_t a[4] = {0x3f80, 0x3f81, 0x3f80, 0x7f7f};
    uint16_t b[4] = {0x3b80, 0x3b80, 0x3b00, 0x7f7f};
    uint16_t c[4] = {0, 0, 0x3b80, 0};
    void *parts[] = {a, b, c};
    reduce_sum(parts, 3, 4, DTYPE_BF16);
    assert_int_equal(a[0], 0x3f80); // tie, down to even
    assert_int_equal(a[1], 0x3f82); // tie, up to even
    assert_int_equal(a[2], 0x3f81); // 2^−9 would be lost, were it rounded on its own
    assert_int_equal(a[3], 0x7f80); // past the largest: infinity
    assert_memory_equal(a, c, sizeof a);
}

static void every_half_survives_a_sum_of_one(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 0x10000; bits++) {
        uint16_t value = (uint16_t)bits;
        void *parts[] = {&value};
        reduce_sum(parts, 1, 1, DTYPE_F16);
        if ((bits & 0x7fff) > 0x7c00) {
            assert_true((value & 0x7fff) > 0x7c00); // a NaN stays one
        } else {
            assert_int_equal(value, bits);
        }
    }
}

static void halves_round_to_nearest_even(void **state) {
    (void)state;
    // 1 + 2^−11 (tie) · 1 + 2^−10 + 2^−11 (tie) · 65504 + 16 (to infinity) ·
    // 2^−24 + 2^−24 (subnormal) · 2^−14 − 2^−24 (largest subnormal)
    uint16_t a[5] = {0x3c00, 0x3c01, 0x7bff, 0x0001, 0x0400};
    uint16_t b[5] = {0x1000, 0x1000, 0x4c00, 0x0001, 0x8001};
    uint16_t expected[5] = {0x3c00, 0x3c02, 0x7c00, 0x0002, 0x03ff};
    void *parts[] = {a, b};
    reduce_sum(parts, 2, 5, DTYPE_F16);
    assert_memory_equal(a, expected, sizeof a);
    assert_memory_equal(b, expected, sizeof b);
}

static void long_arrays_are_summed_to_their_last_element(void **state) {
    (void)state;
    enum { COUNT = 5003 };
    const enum dtype types[] = {DTYPE_F32, DTYPE_F64};
    for (int t = 0; t < 2; t++) {
        size_t size = dtype_size(types[t]);
        void *parts[3];
        for (int p = 0; p < 3; p++) {
            parts[p] = malloc((COUNT + 1) * size);
            assert_non_null(parts[p]);
            for (int i = 0; i <= COUNT; i++) {
                if (types[t] == DTYPE_F32) {
                    ((float *)parts[p])[i] = (float)(i * (p + 1));
                } else {
                    ((double *)parts[p])[i] = i * (p + 1);
                }
            }
        }
        reduce_sum(parts, 3, COUNT, types[t]);
        for (int p = 0; p < 3; p++) {
            for (int i = 0; i <= COUNT; i++) {
                double found = types[t] == DTYPE_F32 ? ((float *)parts[p])[i]
                                                     : ((double *)parts[p])[i];
                assert_true(found == i * (i == COUNT ? p + 1 : 6));
            }
            free(parts[p]);
        }
    }
}

static void not_a_number_stays_visible(void **state) {
    (void)state;
    uint16_t a[1] = {0x7f81}, b[1] = {0x3f80}; // bf16 NaN with a small payload
    void *parts[] = {a, b};
    reduce_sum(parts, 2, 1, DTYPE_BF16);
    assert_true((a[0] & 0x7fff) > 0x7f80);
    float x[1] = {NAN}, y[1] = {1};
    void *floats[] = {x, y};
    reduce_sum(floats, 2, 1, DTYPE_F32);
    assert_true(isnan(x[0]) && isnan(y[0]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(floats_add_in_the_order_of_parts),
            cmocka_unit_test(doubles_keep_their_precision),
            cmocka_unit_test(bf16_rounds_to_nearest_even_once),
            cmocka_unit_test(every_half_survives_a_sum_of_one),
            cmocka_unit_test(halves_round_to_nearest_even),
            cmocka_unit_test(long_arrays_are_summed_to_their_last_element),
            cmocka_unit_test(not_a_number_stays_visible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
