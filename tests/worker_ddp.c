/* Ranks as threads of one process, meeting in memory that they share. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/helpers/group.h"

static struct group_place cpu;

static int set_place(void **state) {
    (void)state;
    cpu = (struct group_place){.kernels = kernels_cpu()};
    return 0;
}

static void equals_one(int world, const char *words, const char *joined) {
    group_must_equal_one(&cpu, world, words, joined, (struct group_bounds){1e-5, 1e-4});
}

static void two_ranks_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    equals_one(2, "arch=gpt ranks=2 ddp=naive batch=2", "arch=gpt batch=4");
    equals_one(2, "arch=llama ranks=2 ddp=bucketed bucket_mb=0.01 batch=2",
            "arch=llama batch=4");
    equals_one(2, "arch=gpt ranks=2 ddp=bucketed bucket_mb=0.01 batch=2",
            "arch=gpt batch=4");
    equals_one(2, "arch=gpt ranks=2 ddp=sharded batch=2", "arch=gpt batch=4");
    equals_one(2, "arch=llama ranks=2 ddp=sharded bucket_mb=0.01 batch=2",
            "arch=llama batch=4");
}

/* Sequences so long that sums wait for attention. */
#define LONG "arch=llama layers=3 d_model=32 heads=2 seq_len=400 "

static void sums_beside_attention_equal_those_at_once(void **state) {
    (void)state;
    equals_one(2, LONG "ranks=2 ddp=bucketed bucket_mb=0.01 batch=2", LONG "batch=4");
    equals_one(2, LONG "ranks=2 ddp=sharded bucket_mb=0.01 batch=2", LONG "batch=4");
}

static void four_ranks_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    equals_one(4, "arch=gpt ranks=4 ddp=bucketed bucket_mb=0.02 batch=1",
            "arch=gpt batch=4");
    equals_one(4, "arch=llama ranks=4 ddp=flat batch=1", "arch=llama batch=4");
    equals_one(4, "arch=gpt ranks=4 ddp=sharded batch=1", "arch=gpt batch=4");
}

static void eight_ranks_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    static const char *const wrappers[] = {"naive", "flat", "bucketed", "sharded"};
    for (int w = 0; w < 4; w++) {
        char words[96];
        snprintf(words, sizeof words, "arch=gpt ranks=8 ddp=%s batch=1", wrappers[w]);
        equals_one(8, words, "arch=gpt batch=8");
    }
}

static void in_low_precision_they_differ_by_rounding(void **state) {
    (void)state;
    // Each rank rounds its gradient before the sum: 2^-9 of bf16, 2^-11 of fp16.
    static const char *const wrappers[] = {"naive", "flat", "bucketed", "sharded"};
    for (int w = 0; w < 4; w++) {
        char words[96];
        snprintf(words, sizeof words, "arch=gpt precision=bf16 ranks=2 ddp=%s batch=2",
                wrappers[w]);
        group_must_equal_one(&cpu, 2, words, "arch=gpt precision=bf16 batch=4",
                (struct group_bounds){1e-2, 5e-2});
        snprintf(words, sizeof words,
                "arch=llama precision=fp16 ranks=4 ddp=%s batch=1", wrappers[w]);
        group_must_equal_one(&cpu, 4, words, "arch=llama precision=fp16 batch=4",
                (struct group_bounds){2e-3, 2e-2});
    }
}

static void ranks_with_accumulation_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    equals_one(2, "arch=gpt ranks=2 ddp=bucketed bucket_mb=0.01 batch=1 accumulate=2",
            "arch=gpt batch=4");
    equals_one(2, "arch=llama ranks=2 ddp=sharded batch=1 accumulate=2",
            "arch=llama batch=4");
    equals_one(
            2, "arch=gpt ranks=2 ddp=naive batch=1 accumulate=3", "arch=gpt batch=6");
}

static void wrappers_and_bucket_sizes_change_no_bit(void **state) {
    (void)state;
    // An odd d_ff and vocabulary leave parameters whose counts no slice divides. With
    // more tokens than rows bucketed gathers none, so it is as the others.
    // The last three have several chunks and buckets a rank.
    static const char *const bases[] = {"arch=gpt batch=4 vocab=67 d_ff=51 ranks=3",
            "arch=llama batch=8 vocab=67 d_ff=51 ranks=2 precision=bf16",
            "arch=gpt batch=8 ranks=2 precision=fp16 accumulate=2 checkpoint=block",
            "arch=llama batch=4 d_model=256 heads=4 ranks=2 grad_clip=0.1",
            "arch=llama batch=8 d_model=256 heads=4 ranks=2 precision=bf16",
            "arch=gpt batch=8 d_model=256 heads=4 ranks=3 precision=fp16"};
    static const int worlds[] = {3, 2, 2, 2, 2, 3};
    enum { BASES = sizeof worlds / sizeof *worlds, SMALL = 3 };
    static const char *const wrappers[] = {"ddp=bucketed bucket_mb=0.001",
            "ddp=bucketed bucket_mb=0.013", "ddp=bucketed bucket_mb=25", "ddp=flat",
            "ddp=sharded bucket_mb=1", "ddp=sharded bucket_mb=25"};
    for (int b = 0; b < BASES; b++) {
        struct group naive;
        char words[256];
        int steps = b < SMALL ? GROUP_STEPS : 3;
        snprintf(words, sizeof words, "%s ddp=naive", bases[b]);
        group_run(&naive, &cpu, worlds[b], steps, words);
        for (int w = 0; w < 6; w++) {
            struct group other;
            snprintf(words, sizeof words, "%s %s", bases[b], wrappers[w]);
            group_run(&other, &cpu, worlds[b], steps, words);
            group_must_equal(&naive, &other);
            group_finish(&other);
        }
        assert_true(isfinite(naive.losses[0][steps - 1]));
        group_finish(&naive);
    }
}

static void bucket_sizes_change_no_bit_where_tokens_are_gathered(void **state) {
    (void)state;
    static const char *const bases[] = {
            "arch=gpt precision=bf16 accumulate=2", "arch=llama precision=bf16"};
    static const char *const sizes[] = {"0.001", "0.013", "25"};
    for (int b = 0; b < 2; b++) {
        struct group first, other;
        for (int i = 0; i < 3; i++) {
            char words[256];
            snprintf(words, sizeof words,
                    "%s ranks=2 threads=1 ddp=bucketed bucket_mb=%s", bases[b],
                    sizes[i]);
            group_run(i ? &other : &first, &cpu, 2, GROUP_STEPS, words);
            if (i) {
                group_must_equal(&first, &other);
                group_finish(&other);
            }
        }
        group_finish(&first);
    }
}

static enum comm_share share_of(const char *words) {
    struct text err = {0};
    struct cell c;
    size_t bytes;
    enum comm_share share;
    cell_init(&c, kernels_cpu(), words);
    c.options.world = 2;
    assert_true(engine_comm_needs(&c.options, &bytes, &share, &err));
    cell_destroy(&c);
    return share;
}

static void communication_beside_work_leaves_it_the_device(void **state) {
    (void)state;
    assert_int_equal(share_of("ranks=2 ddp=naive"), COMM_SHARE_ALL);
    assert_int_equal(share_of("ranks=2 ddp=flat"), COMM_SHARE_ALL);
    assert_int_equal(share_of("ranks=2 ddp=bucketed"), COMM_SHARE_FEW);
    assert_int_equal(share_of("ranks=2 ddp=sharded"), COMM_SHARE_LEAST);
    assert_int_equal(share_of(LONG "ranks=2 ddp=bucketed batch=2"), COMM_SHARE_FEW);
    assert_int_equal(share_of(LONG "ranks=2 ddp=sharded batch=2"), COMM_SHARE_FEW);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(two_ranks_equal_one_on_the_joined_batch),
            cmocka_unit_test(sums_beside_attention_equal_those_at_once),
            cmocka_unit_test(four_ranks_equal_one_on_the_joined_batch),
            cmocka_unit_test(eight_ranks_equal_one_on_the_joined_batch),
            cmocka_unit_test(in_low_precision_they_differ_by_rounding),
            cmocka_unit_test(ranks_with_accumulation_equal_one_on_the_joined_batch),
            cmocka_unit_test(wrappers_and_bucket_sizes_change_no_bit),
            cmocka_unit_test(bucket_sizes_change_no_bit_where_tokens_are_gathered),
            cmocka_unit_test(communication_beside_work_leaves_it_the_device),
    };
    return cmocka_run_group_tests(tests, set_place, NULL);
}
