/*
 * checkkernels [--bench] [op…]: the float reference and every fast kernel, in every
 * build that this machine can run, against the double-precision reference; with --bench
 * the times of the widest build beside the floor that this machine's arithmetic and
 * memory set.
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
    struct stream_options three = {.threads = 3, .math = math};
    check->tf32 = math == MATH_TF32;
    if (!check->truth->stream_create(&options, &check->stream, &err)) {
        fprintf(stderr, "checkkernels: %s\n", err.sentence);
        return false;
    }
    if (!check->truth->stream_create(&three, &check->stream3, &err)) {
        check->truth->stream_destroy(check->stream);
        fprintf(stderr, "checkkernels: %s\n", err.sentence);
        return false;
    }
    return true;
}

// All ops named in argv, all there are where none is.
static bool run_all(struct check *check, int count, char **ops) {
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
        check->truth->stream_destroy(check->stream);
        check->truth->stream_destroy(check->stream3);
    }
    return true;
}

// False after a complaint; *first is then the first op.
static bool read_options(struct check *check, int argc, char **argv, int *first) {
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        char *end;
        if (strcmp(argv[i], "--bench") == 0) {
            check->bench = true;
        } else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            check->threads = (int)strtol(argv[++i], &end, 10);
            if (*end || check->threads < 1) {
                fprintf(stderr, "checkkernels: --threads '%s' is no number from 1 on\n",
                        argv[i]);
                return false;
            }
        } else {
            fprintf(stderr, "checkkernels: unknown option '%s'\n%s", argv[i], usage);
            return false;
        }
    }
    *first = i;
    return true;
}

int main(int argc, char **argv) {
    struct check check = {.truth = kernels_reference64(), .threads = 2};
    int first;
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (!read_options(&check, argc, argv, &first)) {
        return 2;
    }
    if (check.bench) {
        check.fast = kernels_cpu();
        if (!check_roofs(&check)) {
            return 1;
        }
    } else {
        check.threads = 1;
        check.tables[check.table_count++] = kernels_reference();
        for (int i = 0; cpu_build(i) && check.table_count < TABLES_MAX; i++) {
            check.tables[check.table_count++] = cpu_build(i);
        }
    }
    if (!run_all(&check, argc - first, argv + first)) {
        return 1;
    }
    if (check.cases == 0) {
        fputs("checkkernels: no op of that name\n", stderr);
        return 2;
    }
    if (!check.bench) {
        printf("%d cases, %d failures\n", check.cases, check.failures);
    }
    return check.failures ? 1 : 0;
}
