/* The 16-bit types: every value, and every tie between two of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/convert.h"

static void every_f16_survives_the_round_trip(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        uint16_t back = f16_from_f32(f32_from_f16((uint16_t)half));
        bool nan = (half & 0x7fff) > 0x7c00;
        assert_int_equal(back, nan ? half | 0x200 : half);
    }
}

static void every_bf16_survives_the_round_trip(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        uint16_t back = bf16_from_f32(f32_from_bf16((uint16_t)half));
        bool nan = (half & 0x7fff) > 0x7f80;
        assert_int_equal(back, nan ? half | 0x40 : half);
    }
}

static void f16_values_are_those_of_ieee_754(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 0x7c00; half++) {
        int exponent = (int)(half >> 10), mantissa = (int)(half & 0x3ff);
        double want =
                exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
        assert_true(f32_from_f16((uint16_t)half) == want);
        assert_true(f32_from_f16((uint16_t)(half | 0x8000)) == -want);
    }
    assert_true(f32_from_f16(0x7c00) == INFINITY);
    assert_true(f32_from_f16(0xfc00) == -INFINITY);
    assert_true(isnan(f32_from_f16(0x7c01)));
}

// Between two neighbours below and above: ties go to the even one, others to the
// nearer.
static void check_between(
        uint16_t below, uint16_t (*round_to)(float), float low, float high) {
    float middle = low + (high - low) / 2;
    uint16_t above = (uint16_t)(below + 1);
    assert_int_equal(round_to(middle), below & 1 ? above : below);
    assert_int_equal(round_to(nextafterf(middle, low)), below);
    assert_int_equal(round_to(nextafterf(middle, high)), above);
    assert_int_equal(round_to(-middle), (below & 1 ? above : below) | 0x8000);
}

static void f16_ties_go_to_even(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 0x7bff; half++) {
        check_between((uint16_t)half, f16_from_f32, f32_from_f16((uint16_t)half),
                f32_from_f16((uint16_t)(half + 1)));
    }
    assert_int_equal(f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(f16_from_f32(65520.0f), 0x7c00);
    assert_int_equal(f16_from_f32(1e30f), 0x7c00);
    assert_int_equal(f16_from_f32(-INFINITY), 0xfc00);
    assert_int_equal(f16_from_f32(1e-30f), 0);
    assert_true(isnan(f32_from_f16(f16_from_f32(NAN))));
}

static void bf16_ties_go_to_even(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 0x7f7f; half++) {
        check_between((uint16_t)half, bf16_from_f32, f32_from_bf16((uint16_t)half),
                f32_from_bf16((uint16_t)(half + 1)));
    }
    assert_int_equal(bf16_from_f32(3.4e38f), 0x7f80);
    assert_int_equal(bf16_from_f32(-INFINITY), 0xff80);
    assert_true(isnan(f32_from_bf16(bf16_from_f32(f32_from_bits(0x7f800001)))));
    assert_true(isnan(f32_from_bf16(bf16_from_f32(f32_from_bits(0xffffffff)))));
}

static void doubles_are_rounded_once(void **state) {
    (void)state;
    // Just above a tie of bf16, but so close that fp32 lands on the tie.
    double value = 1 + 0x1p-8 + 0x1p-40;
    assert_int_equal(bf16_from_f32((float)value), 0x3f80);
    assert_int_equal(bf16_from_f32(f32_from_f64_odd(value)), 0x3f81);
    assert_int_equal(bf16_from_f32(f32_from_f64_odd(-value)), 0xbf81);
    assert_int_equal(f16_from_f32(f32_from_f64_odd(1 + 0x1p-11 - 0x1p-40)), 0x3c00);
    assert_int_equal(f16_from_f32(f32_from_f64_odd(1 + 0x3p-11 - 0x1p-40)), 0x3c01);
    assert_int_equal(f16_from_f32(f32_from_f64_odd(1e300)), 0x7c00);
    assert_true(isnan(f32_from_f64_odd(NAN)));
}

static void tf32_keeps_ten_bits(void **state) {
    (void)state;
    assert_true(f32_to_tf32(1 + 0x1p-10f) == 1 + 0x1p-10f);
    assert_true(f32_to_tf32(1 + 0x1p-11f) == 1);
    assert_true(f32_to_tf32(1 + 0x3p-11f) == 1 + 0x1p-9f);
    assert_true(f32_to_tf32(-1 - 0x1p-11f - 0x1p-20f) == -1 - 0x1p-10f);
    assert_true(f32_to_tf32(3.4028235e38f) == INFINITY);
    assert_true(f32_to_tf32(-INFINITY) == -INFINITY);
    assert_true(isnan(f32_to_tf32(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_f16_survives_the_round_trip),
            cmocka_unit_test(every_bf16_survives_the_round_trip),
            cmocka_unit_test(f16_values_are_those_of_ieee_754),
            cmocka_unit_test(f16_ties_go_to_even),
            cmocka_unit_test(bf16_ties_go_to_even),
            cmocka_unit_test(doubles_are_rounded_once),
            cmocka_unit_test(tf32_keeps_ten_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
