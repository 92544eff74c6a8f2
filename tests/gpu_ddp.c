/* Ranks on GPUs of one host, each a thread with a device of its own, against one rank
 * and against each other. Skips where fewer than two GPUs are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/helpers/group.h"
#include "worker/comm_nccl.h"

static struct group_place gpus;

static const char *const wrappers[] = {
        "ddp=naive", "ddp=flat", "ddp=bucketed bucket_mb=0.05", "ddp=sharded"};
enum { WRAPPERS = sizeof wrappers / sizeof *wrappers };

static void equals_one(const char *words, const char *wrapper, const char *joined,
        struct group_bounds bounds) {
    char many[256], one[256];
    snprintf(many, sizeof many, "%s ranks=2 %s", words, wrapper);
    snprintf(one, sizeof one, "%s %s", words, joined);
    group_must_equal_one(&gpus, 2, many, one, bounds);
}

static void two_gpus_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    const struct group_bounds exact = {1e-5, 1e-4};
    for (int w = 0; w < WRAPPERS; w++) {
        equals_one("arch=gpt kernel=naive batch=2", wrappers[w], "batch=4", exact);
        equals_one("arch=llama kernel=fused graph=on batch=2", wrappers[w], "batch=4",
                exact);
        equals_one("arch=gpt kernel=fused graph=on checkpoint=block accumulate=2 "
                   "batch=1",
                wrappers[w], "batch=2", exact);
    }
}

static void in_low_precision_they_differ_by_rounding(void **state) {
    (void)state;
    // Each rank rounds its gradient before the sum: 2^-9 of bf16, 2^-11 of fp16.
    for (int w = 0; w < WRAPPERS; w++) {
        equals_one("arch=gpt kernel=fused precision=bf16 graph=on batch=2", wrappers[w],
                "batch=4", (struct group_bounds){1e-2, 5e-2});
        equals_one("arch=llama kernel=fused precision=fp16 graph=on batch=2",
                wrappers[w], "batch=4", (struct group_bounds){2e-3, 2e-2});
    }
}

/* Two sums of two numbers have one order, so nothing may change a bit. */
static void wrappers_graphs_and_bucket_sizes_change_no_bit(void **state) {
    (void)state;
    static const char *const bases[] = {
            "arch=llama batch=4 d_model=256 precision=bf16 grad_clip=0.1",
            "arch=gpt batch=8 precision=fp16 accumulate=2"};
    static const char *const ways[] = {"ddp=naive", "ddp=flat graph=on",
            "ddp=bucketed bucket_mb=0.05", "ddp=bucketed bucket_mb=1 graph=on",
            "ddp=sharded bucket_mb=1", "ddp=sharded bucket_mb=25 graph=on"};
    for (int b = 0; b < 2; b++) {
        struct group first, other;
        char words[256];
        for (int w = 0; w < 6; w++) {
            snprintf(words, sizeof words, "kernel=fused ranks=2 %s %s", bases[b],
                    ways[w]);
            group_run(w ? &other : &first, &gpus, 2, GROUP_STEPS, words);
            if (w) {
                group_must_equal(&first, &other);
                group_finish(&other);
            }
        }
        group_finish(&first);
    }
}

static void gathered_tokens_repeat_whatever_the_bucket_size(void **state) {
    (void)state;
    static const char base[] = "arch=gpt kernel=fused ranks=2 precision=bf16 "
                               "ddp=bucketed";
    static const char *const ways[] = {
            "bucket_mb=0.01", "bucket_mb=0.01 graph=on", "bucket_mb=25 graph=on"};
    struct group first, other;
    char words[256];
    for (int w = 0; w < 3; w++) {
        snprintf(words, sizeof words, "%s %s", base, ways[w]);
        group_run(w ? &other : &first, &gpus, 2, GROUP_STEPS, words);
        if (w) {
            group_must_equal(&first, &other);
            group_finish(&other);
        }
    }
    group_finish(&first);
}

int main(void) {
    struct text err = {0};
    const struct kernels *kernels = kernels_cuda();
    if (kernels->device_count() < 2 || !comm_available(&comm_nccl_backend, &err)) {
        printf("skipped: two GPUs and NCCL are needed%s%s\n", err.size ? ": " : "",
                text_get(&err));
        return 77;
    }
    gpus = (struct group_place){
            .kernels = kernels, .backend = &comm_nccl_backend, .own_devices = true};
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(two_gpus_equal_one_on_the_joined_batch),
            cmocka_unit_test(in_low_precision_they_differ_by_rounding),
            cmocka_unit_test(wrappers_graphs_and_bucket_sizes_change_no_bit),
            cmocka_unit_test(gathered_tokens_repeat_whatever_the_bucket_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
