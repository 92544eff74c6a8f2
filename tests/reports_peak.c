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

static void what_is_not_the_whole_known_card_has_no_peak(void **state) {
    (void)state;
    static const char *const others[] = {"", "NVIDIA ", "H100", "NVIDIA H100",
            "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GeForce RTX 4090 Laptop GPU",
            "NVIDIA GeForce RTX 4090 D", "Intel(R) Xeon(R) Platinum 8481C"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_true(isnan(peak_flops(others[i], PRECISION_BF16)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(a_card_is_known_by_either_of_its_names),
            cmocka_unit_test(what_is_not_the_whole_known_card_has_no_peak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
