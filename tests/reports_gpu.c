/* How a GPU was used, as the report tells it, and what a CPU cannot tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/helpers/scene.h"

static void what_a_gpu_told_is_shown(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 2; i++) {
        struct record *r = folder_ran(&s.folder, "a", i ? "b" : "a",
                i ? "batch=2" : "precision=tf32", i ? 100 : 1000, 90 * MIB);
        folder_fact(r, "device", "NVIDIA H100 PCIe");
        folder_fact(r, "throttle_reasons", i ? "none" : "power cap");
        folder_fact(r, "rank_cpus", "0-31");
        folder_metric(r, "flops_per_token", 1.89e11);
        folder_metric(r, "sm_clock_mhz", 1410);
        folder_metric(r, "joules_per_token", 0.25);
        folder_metric(r, "foreign_processes", i);
        folder_metric(r, "planned_bytes", 90 * MIB);
        folder_metric(r, "context_bytes", 500 * MIB);
    }
    scene_report(&s);
    assert_int_equal(scene_check_csv(&s, "demo_gpu.csv"), 2);
    scene_says(&s, "demo_gpu.csv", "0.5,,0.25,1410,,,,power cap,0\n");
    scene_says(
            &s, "demo_report.md", "| `a` | 50.0 % | 0.250 | 1,410 | power cap | 0 |");
    scene_says(&s, "demo_report.md", "Other processes computed on the GPU meanwhile");
    scene_says(&s, "demo_report.md",
            "Peaks: NVIDIA H100 PCIe in tf32: 378 TFLOP/s; NVIDIA H100 PCIe in fp32: "
            "51.2 TFLOP/s.");
    scene_says(&s, "demo_report.md", "On a GPU: the context of CUDA");
    scene_says(&s, "demo_memory.csv",
            ",context_bytes,handles_bytes,nccl_bytes,rest_bytes\n");
    scene_says(&s, "demo_results.csv", ",power cap,,,,,,,0-31\n");
    scene_close(&s);
}

static void what_a_cpu_cannot_tell_makes_no_section(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    struct record *r = folder_ran(&s.folder, "a", "a", "", 1000, 90 * MIB);
    folder_fact(r, "device", "Intel(R) Xeon(R)");
    scene_report(&s);
    assert_false(scene_has(&s, "demo_gpu.csv"));
    scene_is_silent(&s, "demo_report.md", "How the GPU was used");
    scene_is_silent(&s, "demo_report.md", "Peaks:");
    scene_says(&s, "demo_results.csv", "mfu: no dense peak is known of 'Intel(R) Xeon");
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(what_a_gpu_told_is_shown),
            cmocka_unit_test(what_a_cpu_cannot_tell_makes_no_section),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
