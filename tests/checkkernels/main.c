/*
 * checkkernels [--bench] [op…]: every fast kernel against the double-precision
 * reference, in every build that this machine can run; with --bench the times of the
 * widest build beside the floor that this machine's arithmetic and memory set.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/table.h"
#include "tests/checkkernels/check.h"

static const char usage[] =
        "usage: checkkernels [--bench] [--threads N] [op...]\n"
        "\n"
        "Check every fast kernel against its reference on this machine, or only the\n"
        "named ops (matmul_forward, flash, adamw, ...). Exit 0: all agree; 1: some do\n"
        "not; 2: bad usage.\n"
        "\n"
        "  --bench      time instead of checking: the fastest of repeated calls\n"
        "  --threads N  threads under --bench (default 2)\n";

static void run_ops(struct check *check, const char *op) {
    if (!check->tf32) {
        check_elementwise(check, op);
        check_rows(check, op);
        check_optimizer(check, op);
    }
    check_matmul(check, op);
    check_attention(check, op);
}

static bool open_streams(struct check *check, enum math math) {
    struct kernel_error err;
    struct stream_options options = {.threads = check->threads, .math = math};
    check->tf32 = math == MATH_TF32;
    if (!check->fast->stream_create(&options, &check->stream, &err) ||
            !check->truth->stream_create(&options, &check->truth_stream, &err)) {
        fprintf(stderr, "checkkernels: %s\n", err.sentence);
        return false;
    }
    return true;
}

static void close_streams(struct check *check) {
    check->fast->stream_destroy(check->stream);
    check->truth->stream_destroy(check->truth_stream);
}

// All ops named in argv (all there are where none is) with one table.
static bool run_table(struct check *check, int count, char **ops) {
    for (int math = MATH_F32; math <= MATH_TF32; math++) {
        if (check->bench && math == MATH_TF32) {
            continue;
        }
        if (!open_streams(check, math)) {
            return false;
        }
        for (int i = 0; i < (count ? count : 1); i++) {
            run_ops(check, count ? ops[i] : NULL);
        }
        close_streams(check);
    }
    return true;
}

int main(int argc, char **argv) {
    struct check check = {.truth = kernels_reference64(), .threads = 2};
    int first = 1;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        if (strcmp(argv[first], "--bench") == 0) {
            check.bench = true;
        } else if (strcmp(argv[first], "--help") == 0) {
            fputs(usage, stdout);
            return 0;
        } else if (strcmp(argv[first], "--threads") == 0 && first + 1 < argc) {
            check.threads = (int)strtol(argv[++first], NULL, 10);
        } else {
            fprintf(stderr, "checkkernels: unknown option '%s'\n%s", argv[first],
                    usage);
            return 2;
        }
    }
    if (check.threads < 1) {
        fputs("checkkernels: --threads must be 1 or more\n", stderr);
        return 2;
    }
    if (check.bench) {
        check.fast = kernels_cpu();
        check_roofs(&check);
        return run_table(&check, argc - first, argv + first) ? 0 : 1;
    }
    for (int i = 0; (check.fast = cpu_build(i)); i++) {
        if (!run_table(&check, argc - first, argv + first)) {
            return 1;
        }
    }
    if (check.cases == 0) {
        fputs("checkkernels: no such op\n", stderr);
        return 2;
    }
    printf("%d cases, %d failures\n", check.cases, check.failures);
    return check.failures ? 1 : 0;
}
