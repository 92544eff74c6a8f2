/* Peaks are found by the names that CUDA gives, and only for what is known. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "reports/peak.h"

static void a_card_is_known_by_either_of_its_names(void **state) {
    (void)state;
    assert_float_equal(
            peak_flops("NVIDIA H100 80GB HBM3", PRECISION_BF16), 989.4e12, 1e3);
    assert_float_equal(peak_flops("NVIDIA H100 PCIe", PRECISION_FP16), 756e12, 1e3);
    assert_float_equal(peak_flops("A100-SXM4-40GB", PRECISION_TF32), 156e12, 1e3);
    assert_float_equal(
            peak_flops("NVIDIA GeForce RTX 4090", PRECISION_FP32), 82.6e12, 1e3);
}

static void a_peak_moves_with_the_clock(void **state) {
    (void)state;
    const char *h100 = "NVIDIA H100 80GB HBM3";
    // 132 multiprocessors of 4096 operations a clock, 256 on the ordinary cores.
    assert_float_equal(
            peak_flops_at(h100, PRECISION_BF16, 1000), 132 * 4096 * 1e9, 1e3);
    assert_float_equal(
            peak_flops_at(h100, PRECISION_TF32, 1000), 132 * 2048 * 1e9, 1e3);
    assert_float_equal(peak_flops_at(h100, PRECISION_FP32, 500), 132 * 128 * 1e9, 1e3);
}

static void quoted_peaks_are_those_of_a_clock_that_cards_run_at(void **state) {
    (void)state;
    static const char *const cards[] = {"H100 80GB HBM3", "H100 PCIe", "H100 NVL",
            "H200", "H200 NVL", "GH200 120GB", "GH200 480GB", "GH200 144G HBM3e",
            "B200", "A100-SXM4-40GB", "A100-SXM4-80GB", "A100-PCIE-40GB",
            "A100 80GB PCIe", "A30", "A40", "A10", "L4", "L40", "L40S",
            "GeForce RTX 3090", "RTX A6000", "GeForce RTX 4080", "GeForce RTX 4090",
            "RTX 6000 Ada Generation", "GeForce RTX 5080", "GeForce RTX 5090"};
    static const int64_t precisions[] = {
            PRECISION_FP32, PRECISION_TF32, PRECISION_BF16, PRECISION_FP16};
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++) {
        double clocks[4];
        for (int k = 0; k < 4; k++) {
            clocks[k] = peak_flops(cards[i], precisions[k]) /
                        peak_flops_at(cards[i], precisions[k], 1);
            if (!(clocks[k] >= 1400 && clocks[k] <= 2650)) {
                fail_msg("%s: quoted at %g MHz", cards[i], clocks[k]);
            }
        }
        if (!(fabs(clocks[1] / clocks[2] - 1) < 0.02) || clocks[2] != clocks[3]) {
            fail_msg("%s: tf32 at %g MHz, bf16 at %g", cards[i], clocks[1], clocks[2]);
        }
        assert_true(peak_bandwidth(cards[i]) >= 300e9);
    }
    assert_float_equal(peak_bandwidth("NVIDIA H100 80GB HBM3"), 3352e9, 1);
}

static void what_is_not_the_whole_known_card_has_no_peak(void **state) {
    (void)state;
    static const char *const others[] = {"", "NVIDIA ", "H100", "NVIDIA H100",
            "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GeForce RTX 4090 Laptop GPU",
            "NVIDIA GeForce RTX 4090 D", "Intel(R) Xeon(R) Platinum 8481C"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_true(isnan(peak_flops(others[i], PRECISION_BF16)));
        assert_true(isnan(peak_flops_at(others[i], PRECISION_BF16, 1000)));
        assert_true(isnan(peak_bandwidth(others[i])));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(a_card_is_known_by_either_of_its_names),
            cmocka_unit_test(a_peak_moves_with_the_clock),
            cmocka_unit_test(quoted_peaks_are_those_of_a_clock_that_cards_run_at),
            cmocka_unit_test(what_is_not_the_whole_known_card_has_no_peak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
