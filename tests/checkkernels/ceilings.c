#include "tests/checkkernels/ceilings.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/checkkernels/timer.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool ceilings_start(struct ceilings *ceilings, const struct kernels *table,
        struct kernel_error *err) {
    struct stream_options options = {.threads = 1};
    struct stream *stream;
    void *first;
    double start = now();
    if (table->device_count() < 1) {
        return kernel_fail(err, KERNEL_UNSUPPORTED, "there is no device for '%s' here",
                table->name);
    }
    if (!table->allocate(0, MEMORY_DEVICE, 1, &first, err)) {
        return false;
    }
    double middle = now();
    if (!table->stream_create(&options, &stream, err)) {
        table->release(0, MEMORY_DEVICE, first, 1);
        return false;
    }
    *ceilings =
            (struct ceilings){.context_s = middle - start, .stream_s = now() - middle};
    table->stream_destroy(stream);
    table->release(0, MEMORY_DEVICE, first, 1);
    return true;
}

struct work {
    const struct kernels *table;
    struct tensor a, b, out, scratch;
};

static bool call_copy(
        void *context, int round, struct stream *stream, struct kernel_error *err) {
    struct work *w = context;
    (void)round;
    return w->table->copy(
            stream, COPY_ON_DEVICE, w->out.data, w->a.data, tensor_bytes(&w->a), err);
}

static bool call_product(
        void *context, int round, struct stream *stream, struct kernel_error *err) {
    struct work *w = context;
    (void)round;
    return w->table->matmul_forward(
            stream, &w->out, &w->scratch, &w->a, &w->b, NULL, err);
}

static bool call_add(
        void *context, int round, struct stream *stream, struct kernel_error *err) {
    struct work *w = context;
    (void)round;
    return w->table->add(stream, &w->out, &w->a, &w->b, err);
}

static bool call_fill(
        void *context, int round, struct stream *stream, struct kernel_error *err) {
    struct work *w = context;
    return w->table->fill(stream, w->out.data, (unsigned char)round, sizeof(int), err);
}

static bool open_one(struct device *d, struct stream *stream, enum role role,
        enum dtype type, int64_t rows, int64_t columns, struct tensor *out,
        struct kernel_error *err) {
    struct operand o = {.role = role, .type = type, .size = {rows, columns}};
    return timer_tensor(d, stream, &o, 1, out, err);
}

// Bytes a second that a copy reads and writes.
static bool measure_copy(struct device *d, struct stream *stream, double *rate,
        struct kernel_error *err) {
    const int64_t bytes = (int64_t)1 << 30;
    struct work w = {.table = d->table};
    double seconds;
    device_reset(d);
    if (!open_one(d, stream, ROLE_OUT, DTYPE_U8, bytes, 0, &w.a, err) ||
            !open_one(d, stream, ROLE_OUT, DTYPE_U8, bytes, 0, &w.out, err) ||
            !timer_replay(d->table, stream, 4, 7, call_copy, &w, &seconds, err)) {
        return false;
    }
    *rate = 2 * (double)bytes / seconds;
    return true;
}

static bool measure_product(struct device *d, struct stream *stream, double *rate,
        struct kernel_error *err) {
    const int64_t side = 8192;
    struct matmul_problem problem = {.kind = MATMUL_FORWARD,
            .m = side,
            .n = side,
            .k = side,
            .type = DTYPE_BF16,
            .grad = DTYPE_BF16};
    struct work w = {.table = d->table};
    int64_t scratch =
            (int64_t)d->table->matmul_scratch(side, side, side, DTYPE_BF16, 1);
    double seconds;
    device_reset(d);
    if (!open_one(d, stream, ROLE_IN, DTYPE_BF16, side, side, &w.a, err) ||
            !open_one(d, stream, ROLE_IN, DTYPE_BF16, side, side, &w.b, err) ||
            !open_one(d, stream, ROLE_OUT, DTYPE_BF16, side, side, &w.out, err) ||
            !open_one(d, stream, ROLE_SCRATCH, DTYPE_U8, scratch, 0, &w.scratch, err) ||
            (d->table->matmul_tune && !d->table->matmul_tune(stream, &problem, err)) ||
            !timer_replay(d->table, stream, 10, 7, call_product, &w, &seconds, err)) {
        return false;
    }
    *rate = 2 * (double)side * (double)side * (double)side / seconds;
    return true;
}

// Seconds from one tiny kernel of a graph to the next, and from one small fill.
static bool measure_gaps(struct device *d, struct stream *stream, double *kernels,
        double *fills, struct kernel_error *err) {
    struct work w = {.table = d->table};
    device_reset(d);
    return open_one(d, stream, ROLE_IN, DTYPE_F32, 8, 0, &w.a, err) &&
           open_one(d, stream, ROLE_IN, DTYPE_F32, 8, 0, &w.b, err) &&
           open_one(d, stream, ROLE_OUT, DTYPE_F32, 8, 0, &w.out, err) &&
           timer_replay(d->table, stream, 1000, 9, call_add, &w, kernels, err) &&
           timer_replay(d->table, stream, 1000, 9, call_fill, &w, fills, err);
}

// The driver's version where it can be read, which is not in every container.
static void print_driver(void) {
    char version[64] = "";
    FILE *file = fopen("/sys/module/nvidia/version", "r");
    if (file) {
        if (fgets(version, sizeof version, file)) {
            version[strcspn(version, "\n")] = '\0';
        }
        fclose(file);
    }
    printf("driver                %s\n", version[0] ? version : "unknown");
}

bool ceilings_measure(const struct ceilings *ceilings, struct check *check,
        struct kernel_error *err) {
    struct device *d = check->device;
    struct stream_options options = {.threads = 1};
    struct stream *stream;
    double kernels = 0, fills = 0;
    char name[128];
    if (!d->table->stream_create(&options, &stream, err)) {
        return false;
    }
    d->stream = stream; // red zones are filled on it
    bool ok = measure_copy(d, stream, &check->peak_bytes, err) &&
              measure_product(d, stream, &check->peak_flops, err) &&
              measure_gaps(d, stream, &kernels, &fills, err);
    d->stream = NULL;
    d->table->stream_destroy(stream);
    if (!ok) {
        return false;
    }
    d->table->device_name(0, name, sizeof name);
    printf("device                %s\n", name);
    print_driver();
    printf("first touch           %.0f ms, then a stream with its libraries %.0f ms\n",
            ceilings->context_s * 1e3, ceilings->stream_s * 1e3);
    printf("copy                  %.0f GB/s read and written, 1 GiB\n",
            check->peak_bytes * 1e-9);
    printf("product               %.0f TFLOP/s, bf16, 8192 x 8192 x 8192\n",
            check->peak_flops * 1e-12);
    printf("kernel to kernel      %.2f us in a graph of 1000\n", kernels * 1e6);
    printf("fill to fill          %.2f us, of 4 bytes\n\n", fills * 1e6);
    timer_head();
    return true;
}
