/*
 * cuDNN takes the graphs we compose, for GPUs that are described and not here: it
 * recognises attention in them, compiles its kernels and says how much workspace they
 * want. A driver of our own stands in for NVIDIA's. What the kernels compute is
 * checkkernels' to judge, on a GPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cudnn_plan.h"

static const struct cudnn_library *lib;
static char devices[2][4096]; // Hopper, Ampere

// Workspace of the plan in bytes, or −1 with cuDNN's words in `err`.
static int64_t workspace_of(const struct cudnn_library *library, const char *device,
        enum cudnn_pass pass, enum dtype type, struct attention_shape shape,
        struct kernel_error *err) {
    struct cudnn_problem problem = {.pass = pass,
            .type = type,
            .shape = shape,
            .row_heads = shape.heads,
            .row_kv_heads = shape.kv_heads};
    struct cudnn_plan plan;
    if (!cudnn_plan_init(&plan, library, NULL, device, &problem, err)) {
        return -1;
    }
    int64_t bytes = (int64_t)plan.workspace;
    cudnn_plan_finish(&plan);
    return bytes;
}

static void assert_taken(const struct cudnn_library *library, const char *device,
        enum dtype type, struct attention_shape shape) {
    for (int pass = 0; pass < 3; pass++) {
        struct kernel_error err = {0};
        shape.deterministic = pass == 2;
        if (workspace_of(library, device,
                    pass ? CUDNN_PASS_BACKWARD : CUDNN_PASS_FORWARD, type, shape,
                    &err) < 0) {
            fail_msg("pass %d of T%lld H%lld/%lld D%lld w%lld: %s", pass,
                    (long long)shape.seq_len, (long long)shape.heads,
                    (long long)shape.kv_heads, (long long)shape.head_dim,
                    (long long)shape.window, err.sentence);
        }
    }
}

static void every_mask_and_grouping_is_taken(void **state) {
    (void)state;
    for (int device = 0; device < 2; device++) {
        for (int64_t groups = 2; groups <= 8; groups *= 4) {
            for (int64_t window = 0; window <= 256; window += 256) {
                assert_taken(lib, devices[device], DTYPE_BF16,
                        (struct attention_shape){.batch = 4,
                                .seq_len = 1024,
                                .heads = 8,
                                .kv_heads = groups,
                                .head_dim = 64,
                                .window = window});
            }
        }
    }
}

static void odd_lengths_and_heads_are_taken(void **state) {
    (void)state;
    static const struct attention_shape odd[] = {{2, 7, 2, 2, 8, 0},
            {1, 2, 2, 1, 16, 0}, {2, 67, 4, 2, 24, 5}, {1, 193, 1, 1, 72, 130},
            {3, 1000, 12, 12, 128, 0}};
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
        assert_taken(lib, devices[0], i % 2 ? DTYPE_F16 : DTYPE_BF16, odd[i]);
    }
}

static void some_heads_of_a_row_are_taken_in_a_workspace_of_their_own(void **state) {
    (void)state;
    struct cudnn_problem problem = {.pass = CUDNN_PASS_BACKWARD,
            .type = DTYPE_BF16,
            .shape = {1, 1024, 4, 2, 64, 0, true},
            .row_heads = 16,
            .row_kv_heads = 8};
    struct cudnn_plan plan;
    struct kernel_error err = {0};
    assert_true(cudnn_plan_init(&plan, lib, NULL, devices[0], &problem, &err));
    assert_true(plan.workspace < (size_t)2 * 4 * 1024 * 1024 * 2);
    cudnn_plan_finish(&plan);
}

static void a_mask_of_lengths_for_older_versions_is_taken(void **state) {
    (void)state;
    struct cudnn_library older = *lib;
    struct cudnn_problem problem = {.pass = CUDNN_PASS_BACKWARD,
            .type = DTYPE_BF16,
            .shape = {2, 200, 4, 2, 64, 0}};
    older.version = 91400;
    assert_true(cudnn_attention_is_padded(&problem, older.version));
    assert_false(cudnn_attention_is_padded(&problem, 91600));
    assert_taken(&older, devices[0], DTYPE_BF16, problem.shape);
    problem.shape.window = 40;
    assert_taken(&older, devices[0], DTYPE_BF16, problem.shape);
}

static void determinism_costs_a_square_workspace_and_too_large_a_one_is_refused(
        void **state) {
    (void)state;
    struct attention_shape shape = {.batch = 4,
            .seq_len = 2048,
            .heads = 8,
            .kv_heads = 8,
            .head_dim = 64,
            .deterministic = true};
    struct kernel_error err = {0};
    int64_t square = shape.batch * shape.heads * shape.seq_len * shape.seq_len * 2;
    assert_true(workspace_of(lib, devices[0], CUDNN_PASS_BACKWARD, DTYPE_BF16, shape,
                        &err) <= square + square / 8);
    shape.batch = 256;
    assert_int_equal(
            workspace_of(lib, devices[0], CUDNN_PASS_BACKWARD, DTYPE_BF16, shape, &err),
            -1);
    assert_int_equal(err.kind, KERNEL_UNSUPPORTED);
    assert_non_null(strstr(err.sentence, "to be deterministic"));
    shape.deterministic = false;
    assert_true(workspace_of(lib, devices[0], CUDNN_PASS_BACKWARD, DTYPE_BF16, shape,
                        &err) >= 0);
}

static void a_refusal_carries_the_words_of_cudnn(void **state) {
    (void)state;
    struct kernel_error err = {0};
    struct attention_shape shape = {2, 64, 2, 2, 64, 0};
    assert_int_equal(
            workspace_of(lib, "not JSON", CUDNN_PASS_FORWARD, DTYPE_BF16, shape, &err),
            -1);
    assert_int_equal(err.kind, KERNEL_UNSUPPORTED);
    assert_non_null(
            strstr(err.sentence, "describing a device to cuDNN: CUDNN_STATUS_"));
}

static void read_device(const char *name, char *out, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "tests/devices/%s.json", name);
    FILE *file = fopen(path, "r");
    size_t count = file ? fread(out, 1, size - 1, file) : 0;
    if (!file || count == 0) {
        perror(path);
        exit(1);
    }
    out[count] = '\0';
    fclose(file);
}

int main(void) {
    char driver[4096];
    struct kernel_error err = {0};
    snprintf(driver, sizeof driver, "%s/tests/libcuda.so.1", getenv("LM_BUILD"));
    // Under the name that cuDNN asks for; its own search then ends here.
    if (!dlopen(driver, RTLD_NOW | RTLD_GLOBAL)) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    lib = cudnn_library_open(&err);
    if (!lib) {
        fprintf(stderr, "%s\n", err.sentence);
        return 77;
    }
    read_device("h100", devices[0], sizeof devices[0]);
    read_device("a100", devices[1], sizeof devices[1]);
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_mask_and_grouping_is_taken),
            cmocka_unit_test(odd_lengths_and_heads_are_taken),
            cmocka_unit_test(some_heads_of_a_row_are_taken_in_a_workspace_of_their_own),
            cmocka_unit_test(a_mask_of_lengths_for_older_versions_is_taken),
            cmocka_unit_test(
                    determinism_costs_a_square_workspace_and_too_large_a_one_is_refused),
            cmocka_unit_test(a_refusal_carries_the_words_of_cudnn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
