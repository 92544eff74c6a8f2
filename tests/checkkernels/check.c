#include "tests/checkkernels/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/convert.h"
#include "tests/checkkernels/device.h"
#include "tests/helpers/numbers.h"

struct operand *check_operand(struct check_case *c, enum role role, enum dtype type,
        enum fill fill, int64_t a, int64_t b, int64_t d, int64_t e) {
    if (c->count == OPERANDS_MAX) {
        abort();
    }
    struct operand *o = &c->operands[c->count++];
    *o = (struct operand){
            .role = role, .type = type, .fill = fill, .size = {a, b, d, e}};
    return o;
}

double check_get(const struct tensor *t, int64_t i) {
    switch (t->type) {
    case DTYPE_F64:
        return ((const double *)t->data)[i];
    case DTYPE_F32:
        return ((const float *)t->data)[i];
    case DTYPE_BF16:
        return f32_from_bf16(((const uint16_t *)t->data)[i]);
    case DTYPE_F16:
        return f32_from_f16(((const uint16_t *)t->data)[i]);
    case DTYPE_I32:
        return ((const int32_t *)t->data)[i];
    case DTYPE_U8:
        return ((const uint8_t *)t->data)[i];
    }
    abort();
}

void check_set(const struct tensor *t, int64_t i, double value) {
    numbers_put(t->data, t->type, i, value);
}

double check_half_ulp(enum dtype type) {
    return type == DTYPE_BF16 ? 0x1p-8 : type == DTYPE_F16 ? 0x1p-11 : 0x1p-24;
}

double check_now(const struct check *check) {
    struct timespec t;
    clock_gettime(check->threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct tensor check_tensor(const struct operand *o, enum dtype type, bool aligned) {
    struct tensor t = {.type = type};
    while (t.rank < TENSOR_RANK_MAX && o->size[t.rank]) {
        t.size[t.rank] = o->size[t.rank];
        t.rank++;
    }
    size_t bytes = tensor_bytes(&t), shift = aligned ? 0 : 16;
    unsigned char *base = aligned_alloc(64, (bytes + 2 * ZONE + 64 + 63) / 64 * 64);
    if (!base) {
        abort();
    }
    // The block starts with its own address's offset: check_free() finds it again.
    memset(base, ZONE_BYTE, ZONE + shift);
    t.data = base + ZONE + shift;
    memset(t.data, 0xff, bytes);
    memset((unsigned char *)t.data + bytes, ZONE_BYTE, ZONE);
    return t;
}

void check_free(struct tensor *t) {
    uintptr_t data = (uintptr_t)t->data;
    free((void *)(data - data % 64 - ZONE));
    t->data = NULL;
}

bool check_zones(const struct tensor *t) {
    const unsigned char *data = t->data;
    size_t bytes = tensor_bytes(t);
    for (int i = 0; i < ZONE; i++) {
        if (data[-1 - i] != ZONE_BYTE || data[bytes + (size_t)i] != ZONE_BYTE) {
            return false;
        }
    }
    return true;
}

static double uniform(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

static double normal(uint64_t *state) {
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        sum += uniform(state);
    }
    return sum - 6;
}

static double fill_value(const struct operand *o, uint64_t *state) {
    double scale = o->scale != 0 ? o->scale : 1, tiny = 0;
    switch (o->fill) {
    case FILL_NORMAL:
        return scale * normal(state);
    case FILL_LARGE:
        return scale * 30 * normal(state);
    case FILL_ZERO:
    case FILL_OWNED:
    case FILL_CONTROL:
        return 0;
    case FILL_TINY:
        tiny = o->type == DTYPE_F16 ? 0x1p-20 : 0x1p-140;
        return tiny * (uniform(state) - 0.5);
    case FILL_POSITIVE:
        return scale * (0.1 + 1.9 * uniform(state));
    case FILL_INDEX:
    case FILL_TARGET: {
        bool ignored = o->fill == FILL_TARGET && uniform(state) < 0.125;
        double index = floor(uniform(state) * (double)o->below);
        return ignored ? -1 : index;
    }
    }
    abort();
}

void check_fill(struct tensor *t, const struct operand *o, uint64_t seed) {
    uint64_t state = seed * 7919 + 1;
    for (int64_t i = 0; i < tensor_count(t); i++) {
        check_set(t, i, fill_value(o, &state));
    }
    for (int64_t i = 0; o->fill == FILL_OWNED && i < tensor_count(t); i++) {
        check_set(t, i, (double)(o->below - 1 - 2 * i));
    }
    if (o->fill == FILL_CONTROL) {
        check_set(t, CONTROL_LR, 1e-3);
        check_set(t, CONTROL_LOSS_SCALE, 8);
        check_set(t, CONTROL_UPDATES, 7);
        check_set(t, CONTROL_GRAD_FACTOR, 0.37);
        check_set(t, CONTROL_GOOD_STEPS, 3);
        check_set(t, CONTROL_OVERFLOW, (double)o->below);
    }
}

void check_fail(
        struct check *check, const struct check_case *c, const char *format, ...) {
    enum { LINES = 20 };
    va_list arguments;
    bool same = check->failing && strcmp(check->failing, c->op) == 0;
    check->failures++;
    check->failing = c->op;
    check->failing_count = same ? check->failing_count + 1 : 1;
    // A device's kernel tends to be wrong everywhere, and others should be seen too.
    if (check->device && check->failing_count > LINES) {
        if (check->failing_count == LINES + 1) {
            printf("FAIL %s: and more, counted but not printed\n", c->op);
        }
        return;
    }
    printf("FAIL %s %s %s, table %s: ", c->op, c->shape, dtype_name(c->type),
            check->fast ? check->fast->name : check->truth->name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

void check_skip(struct check *check, const struct check_case *c, const char *sentence) {
    check->skipped++;
    printf("skipped: %s %s %s: %s\n", c->op, c->shape, dtype_name(c->type), sentence);
}

void check_open_inputs(const struct check_case *c, struct tensor *inputs) {
    for (int i = 0; i < c->count; i++) {
        const struct operand *o = &c->operands[i];
        inputs[i] = (struct tensor){0};
        if (o->role == ROLE_IN || o->role == ROLE_IN_OUT) {
            inputs[i] = check_tensor(o, o->type, false);
            check_fill(&inputs[i], o, (uint64_t)i + 1);
        }
    }
}

// The tensors of a case for one table: inputs are shared, all else is its own. Reals
// are F64 for the truth.
static void open_tensors(const struct check_case *c, const struct kernels *k,
        const struct tensor *inputs, bool truth, struct tensor *t) {
    for (int i = 0; i < c->count; i++) {
        struct operand o = c->operands[i];
        bool wide = truth && !o.stored && o.type != DTYPE_I32 && o.type != DTYPE_U8;
        if (o.role == ROLE_IN) {
            t[i] = inputs[i];
        } else if (o.role == ROLE_SCRATCH) {
            o.size[0] = (int64_t)c->scratch(c, k, i);
            o.size[0] = o.size[0] ? o.size[0] : 1;
            t[i] = check_tensor(&o, DTYPE_U8, true);
        } else {
            t[i] = check_tensor(&o, wide ? DTYPE_F64 : o.type, false);
        }
        for (int64_t e = 0; o.role == ROLE_IN_OUT && e < tensor_count(&t[i]); e++) {
            check_set(&t[i], e, check_get(&inputs[i], e));
        }
    }
}

static void close_tensors(
        const struct check_case *c, const struct tensor *inputs, struct tensor *t) {
    for (int i = 0; i < c->count; i++) {
        if (t[i].data && t[i].data != inputs[i].data) {
            check_free(&t[i]);
        }
    }
}

void check_close_inputs(const struct check_case *c, struct tensor *inputs) {
    for (int i = 0; i < c->count; i++) {
        if (inputs[i].data) {
            check_free(&inputs[i]);
        }
    }
}

bool check_writes(const struct check_case *c, int operand) {
    enum role role = c->operands[operand].role;
    return role == ROLE_OUT || role == ROLE_IN_OUT;
}

void check_compare(struct check *check, const struct check_case *c, int operand,
        const struct tensor *got, const struct tensor *want) {
    double relative = c->relative + 1.001 * check_half_ulp(got->type);
    // Under the normal range a unit in the last place stops shrinking.
    double absolute = c->absolute + (got->type == DTYPE_F16 ? 0x1p-25 : 0x1p-126);
    for (int64_t i = 0; i < tensor_count(got); i++) {
        double g = check_get(got, i), w = check_get(want, i);
        // Infinity is right where the truth has it; NaN never is, for none goes in.
        if (g == w) {
            continue;
        }
        if (!(fabs(g - w) <= absolute + relative * fabs(w))) {
            check_fail(check, c, "operand %d[%lld] is %.9g, should be %.9g", operand,
                    (long long)i, g, w);
            return;
        }
    }
}

// One table against the truth on one thread, then on three: the same bits.
static void check_table(struct check *check, const struct check_case *c,
        const struct tensor *inputs, const struct tensor *truth) {
    struct tensor one[OPERANDS_MAX], three[OPERANDS_MAX];
    struct kernel_error err = {0};
    open_tensors(c, check->fast, inputs, false, one);
    open_tensors(c, check->fast, inputs, false, three);
    if (!c->call(c, check->fast, check->stream, one, &err) ||
            !c->call(c, check->fast, check->stream3, three, &err)) {
        check_fail(check, c, "%s", err.sentence);
    }
    for (int i = 0; i < c->count; i++) {
        if (!check_zones(&one[i]) || !check_zones(&three[i])) {
            check_fail(check, c, "wrote outside operand %d", i);
        }
        if (check_writes(c, i)) {
            check_compare(check, c, i, &one[i], &truth[i]);
        }
        if (check_writes(c, i) &&
                memcmp(one[i].data, three[i].data, tensor_bytes(&one[i]))) {
            check_fail(check, c, "operand %d depends on the threads", i);
        }
    }
    close_tensors(c, inputs, one);
    close_tensors(c, inputs, three);
}

static void check_once(struct check *check, const struct check_case *c) {
    struct tensor inputs[OPERANDS_MAX], truth[OPERANDS_MAX];
    struct kernel_error err = {0};
    check_open_inputs(c, inputs);
    open_tensors(c, check->truth, inputs, true, truth);
    if (!c->call(c, check->truth, check->stream, truth, &err)) {
        check_fail(check, c, "%s", err.sentence);
    }
    if (check->device) {
        int skipped = check->skipped;
        device_check(check, c, inputs, truth);
        check->cases += check->skipped == skipped;
    }
    for (int i = 0; i < check->table_count; i++) {
        check->fast = check->tables[i];
        check_table(check, c, inputs, truth);
        check->cases++;
    }
    close_tensors(c, inputs, truth);
    check_close_inputs(c, inputs);
}

void check_line(const struct check *check, const char *op, const char *shape,
        enum dtype type, double best_s, double flops, double bytes) {
    double floor_s = fmax(flops / check->peak_flops, bytes / check->peak_bytes);
    printf("%-23s %-26s %-5s %10.1f %8.1f %8.1f %10.1f %5.0f%%\n", op, shape,
            dtype_name(type), best_s * 1e6, bytes / best_s * 1e-9,
            flops / best_s * 1e-9, floor_s * 1e6, 100 * floor_s / best_s);
}

// The roofs are those of the kernels' own best cases, on every thread: a product whose
// operands stay in the cache, and a copy.
bool check_roofs(struct check *check) {
    struct kernel_error err = {0};
    struct stream *stream;
    struct stream_options options = {.threads = check->threads};
    int64_t side = 480, count = 1 << 20;
    struct operand o = {.size = {side, side}};
    struct tensor a = check_tensor(&o, DTYPE_F32, true),
                  b = check_tensor(&o, DTYPE_F32, true);
    struct tensor out = check_tensor(&o, DTYPE_F32, true);
    struct operand bytes = {.size = {(int64_t)check->fast->matmul_scratch(
                                    side, side, side, DTYPE_F32, check->threads)}};
    struct operand line = {.size = {count}};
    struct tensor scratch = check_tensor(&bytes, DTYPE_U8, true);
    struct tensor x = check_tensor(&line, DTYPE_F32, true),
                  y = check_tensor(&line, DTYPE_F32, true);
    double product_s = INFINITY, add_s = INFINITY;
    memset(a.data, 0, tensor_bytes(&a));
    memset(b.data, 0, tensor_bytes(&b));
    memset(x.data, 0, tensor_bytes(&x));
    if (!check->fast->stream_create(&options, &stream, &err)) {
        fprintf(stderr, "checkkernels: %s\n", err.sentence);
        return false;
    }
    for (int i = 0; i < 25; i++) {
        double start = check_now(check);
        check->fast->matmul_forward(stream, &out, &scratch, &a, &b, NULL, &err);
        double middle = check_now(check);
        check->fast->add(stream, &y, &x, &x, &err);
        add_s = fmin(add_s, check_now(check) - middle);
        product_s = fmin(product_s, middle - start);
    }
    check->peak_flops = 2 * (double)(side * side * side) / product_s;
    check->peak_bytes = 8 * (double)count / add_s;
    char name[128];
    check->fast->device_name(0, name, sizeof(name));
    printf("%s, %d threads: %.0f GFLOP/s and %.0f GB/s measured\n", name,
            check->threads, check->peak_flops * 1e-9, check->peak_bytes * 1e-9);
    printf("%-23s %-26s %-5s %10s %8s %8s %10s %6s\n", "op", "shape", "type", "us",
            "GB/s", "GFLOP/s", "floor us", "floor");
    check->fast->stream_destroy(stream);
    struct tensor *all[] = {&a, &b, &out, &scratch, &x, &y};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        check_free(all[i]);
    }
    return true;
}

static void bench_once(struct check *check, const struct check_case *c) {
    enum { REPEATS = 31 };
    struct tensor inputs[OPERANDS_MAX], t[OPERANDS_MAX];
    struct kernel_error err = {0};
    double best = INFINITY;
    check_open_inputs(c, inputs);
    open_tensors(c, check->fast, inputs, false, t);
    for (int i = 0; i < REPEATS; i++) {
        double start = check_now(check);
        if (!c->call(c, check->fast, check->stream, t, &err)) {
            check_fail(check, c, "%s", err.sentence);
            break;
        }
        best = fmin(best, check_now(check) - start);
    }
    check_line(check, c->op, c->shape, c->type, best, c->flops, c->bytes);
    check->cases++;
    close_tensors(c, inputs, t);
    check_close_inputs(c, inputs);
}

// With --quick every fourth case of an op and type; the op files go through both in
// order.
static bool passed_over(struct check *check, const struct check_case *c) {
    enum { EVERY = 4 };
    bool same = check->quick_op && strcmp(check->quick_op, c->op) == 0;
    check->quick_count = same ? check->quick_count + 1 : 0;
    check->quick_op = c->op;
    return check->quick && check->quick_count % EVERY != 0;
}

void check_run(struct check *check, const struct check_case *c) {
    if (check->lost || passed_over(check, c)) {
        return;
    }
    if (check->bench && check->device) {
        device_bench(check, c);
    } else if (check->bench) {
        bench_once(check, c);
    } else {
        check_once(check, c);
    }
}
