/*
 * checkkernels [--bench] [--device …] [op…]: the float reference and every fast kernel,
 * in every build that this machine can run, against the double-precision reference;
 * with
 * --bench the times of the widest build beside the floor that this machine's arithmetic
 * and memory set. On a GPU the reference stays on the host.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/table.h"
#include "tests/checkkernels/ceilings.h"
#include "tests/checkkernels/device.h"

static const char usage[] =
        "usage: checkkernels [--bench] [--device D] [--quick] [--threads N] [op...]\n"
        "\n"
        "Check every fast kernel against its reference on this machine, or only the\n"
        "named ops (matmul_forward, flash, adamw, ...). Exit 0: all agree; 1: some do\n"
        "not; 2: bad usage; 77: no such device.\n"
        "\n"
        "  --bench      time instead of checking: on the CPU the fastest of repeated\n"
        "               calls; on a GPU what the card can do, and medians\n"
        "  --device D   cpu, cuda or all (default cpu)\n"
        "  --quick      on a GPU, one case in four, each operand an allocation of its\n"
        "               own: for compute-sanitizer\n"
        "  --threads N  CPU threads under --bench (default 2)\n";

struct choice {
    bool bench, quick, cpu, cuda;
    int threads;
};

// The whole table where it is built in, else NULL.
static const struct kernels *cuda_table(void) {
#ifdef LM_CUDA_KERNELS
    return kernels_cuda();
#else
    return NULL;
#endif
}

static void run_ops(struct check *check, const char *op) {
    if (!check->tf32) {
        check_elementwise(check, op);
        check_rows(check, op);
        check_optimizer(check, op);
        check_normal(check, op);
    }
    check_matmul(check, op);
    check_attention(check, op);
}

static bool complain(const struct kernel_error *err) {
    fprintf(stderr, "checkkernels: %s\n", err->sentence);
    return false;
}

// The host's streams, and the device's where there is one. There only it rounds to
// tf32: its truth has the operands whole.
static bool open_streams(struct check *check, enum math math) {
    struct kernel_error err = {0};
    struct device *d = check->device;
    enum math host = d ? MATH_F32 : math;
    struct stream_options options = {.threads = check->threads, .math = host};
    struct stream_options three = {.threads = 3, .math = host};
    struct stream_options device = {.threads = check->threads, .math = math};
    check->tf32 = math == MATH_TF32;
    if (!check->truth->stream_create(&options, &check->stream, &err)) {
        return complain(&err);
    }
    if (!check->truth->stream_create(&three, &check->stream3, &err)) {
        check->truth->stream_destroy(check->stream);
        return complain(&err);
    }
    if (d && !d->table->stream_create(&device, &d->stream, &err)) {
        check->truth->stream_destroy(check->stream);
        check->truth->stream_destroy(check->stream3);
        return complain(&err);
    }
    return true;
}

static void close_streams(struct check *check) {
    check->truth->stream_destroy(check->stream);
    check->truth->stream_destroy(check->stream3);
    if (check->device) {
        device_reset(check->device);
        check->device->table->stream_destroy(check->device->stream);
        check->device->stream = NULL;
    }
}

// All ops named in argv, all there are where none is.
static bool run_all(struct check *check, int count, char **ops) {
    for (int math = MATH_F32; math <= MATH_TF32 && !check->lost; math++) {
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

static bool read_number(const char *text, int *out) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 1 || value > 1024) {
        fprintf(stderr, "checkkernels: --threads '%s' is no number from 1 to 1024\n",
                text);
        return false;
    }
    *out = (int)value;
    return true;
}

static bool read_device(const char *text, struct choice *choice) {
    choice->cpu = strcmp(text, "cpu") == 0 || strcmp(text, "all") == 0;
    choice->cuda = strcmp(text, "cuda") == 0 || strcmp(text, "all") == 0;
    if (!choice->cpu && !choice->cuda) {
        fprintf(stderr, "checkkernels: --device '%s' is none of cpu, cuda and all\n",
                text);
        return false;
    }
    return true;
}

// False after a complaint; *first is then the first op.
static bool read_options(struct choice *choice, int argc, char **argv, int *first) {
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--bench") == 0) {
            choice->bench = true;
        } else if (strcmp(argv[i], "--quick") == 0) {
            choice->quick = true;
        } else if (strcmp(argv[i], "--device") == 0 && more) {
            if (!read_device(argv[++i], choice)) {
                return false;
            }
        } else if (strcmp(argv[i], "--threads") == 0 && more) {
            if (!read_number(argv[++i], &choice->threads)) {
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

static int end(const struct check *check) {
    if (check->cases == 0 && check->skipped == 0) {
        fputs("checkkernels: no op of that name\n", stderr);
        return 2;
    }
    if (!check->bench) {
        printf("%d cases, %d failures", check->cases, check->failures);
        printf(check->device ? ", %d skipped\n" : "\n", check->skipped);
    }
    return check->failures ? 1 : 0;
}

static int run_cpu(const struct choice *choice, int count, char **ops) {
    struct check check = {.truth = kernels_reference64(),
            .threads = choice->threads,
            .bench = choice->bench};
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
    return run_all(&check, count, ops) ? end(&check) : 1;
}

// Ceilings first: they time what a process pays for touching the device.
static int run_cuda(const struct choice *choice, int count, char **ops) {
    enum { CHECK_BYTES = 1 << 30 };
    struct device device = {0};
    struct kernel_error err = {0};
    struct check check = {.truth = kernels_reference64(),
            .threads = 1,
            .bench = choice->bench,
            .quick = choice->quick,
            .device = &device,
            .fast = cuda_table()};
    size_t bytes = choice->bench ? CEILINGS_BYTES : CHECK_BYTES;
    if (!check.fast) {
        fputs("checkkernels: this build has no CUDA kernels\n", stderr);
        return 77;
    }
    struct ceilings ceilings;
    if (!ceilings_start(&ceilings, check.fast, &err)) {
        complain(&err);
        return err.kind == KERNEL_UNSUPPORTED ? 77 : 1;
    }
    int status = 1;
    if (!device_open(
                &device, check.fast, choice->quick && !choice->bench, bytes, &err)) {
        complain(&err);
    } else if (choice->bench && !ceilings_measure(&ceilings, &check, &err)) {
        complain(&err);
    } else if (run_all(&check, count, ops)) {
        status = end(&check);
    }
    device_close(&device);
    return status;
}

int main(int argc, char **argv) {
    struct choice choice = {.threads = 2, .cpu = true};
    int first, status = 0, other = 0;
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (!read_options(&choice, argc, argv, &first)) {
        return 2;
    }
    // A line at a time, also into a file: what was checked when a run ends early.
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (choice.cpu) {
        status = run_cpu(&choice, argc - first, argv + first);
    }
    if (choice.cuda) {
        other = run_cuda(&choice, argc - first, argv + first);
    }
    return status ? status : other;
}
