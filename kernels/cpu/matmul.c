/*
 * The three products of a linear layer around gemm_block(). Threads pack B together,
 * then each computes its rows of C (its columns, where C has few rows).
 */
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"

// Floats of B that are packed at a time, so that they stay in a second-level cache (1
// MiB) while A passes by; more columns take another round.
#define PACKED_MAX ((int64_t)1 << 18)

struct product {
    struct tensor *c; // [m, n]
    int64_t m, n, k;
    struct gemm_matrix a, b;
    const struct tensor *bias; // [n] or absent
    bool accumulate;
};

static int64_t round_up(int64_t value, int64_t step) {
    return (value + step - 1) / step * step;
}

// Columns of one round.
static int64_t round_columns(int64_t n, int64_t k) {
    int64_t most = PACKED_MAX / (k ? k : 1) / GEMM_COLUMNS * GEMM_COLUMNS;
    most = most < GEMM_COLUMNS ? GEMM_COLUMNS : most;
    return n < most ? round_up(n, GEMM_COLUMNS) : most;
}

// Floats of a packed round, and of a block of A for each thread.
static int64_t packed_floats(int64_t n, int64_t k) {
    return round_up(round_columns(n, k) * k, 16);
}

static int64_t rows_floats(int64_t k) {
    return round_up(GEMM_ROWS * k, 16);
}

static size_t product_scratch(int64_t n, int64_t k, int threads) {
    return (size_t)(packed_floats(n, k) + threads * rows_floats(k)) * sizeof(float);
}

size_t CPU(matmul_scratch)(
        int64_t m, int64_t n, int64_t k, enum dtype type, int threads) {
    (void)type; // F32 operands are converted too, under tf32.
    size_t forward = product_scratch(n, k, threads);
    size_t input = product_scratch(k, n, threads);
    size_t weight = product_scratch(k, m, threads);
    size_t most = forward > input ? forward : input;
    return most > weight ? most : weight;
}

// Columns [first, first + count) of rows [i, i + rows) of C from a block of A.
static void product_block(const struct product *p, const float *a, int64_t row,
        int64_t column, const float *panels, int64_t i, int64_t rows, int64_t first,
        int64_t count) {
    float bias[GEMM_COLUMNS] ALIGNED, block[GEMM_ROWS * GEMM_COLUMNS] ALIGNED;
    bool direct = p->c->type == DTYPE_F32;
    for (int64_t j = 0; j < count; j += GEMM_COLUMNS) {
        int64_t width = count - j < GEMM_COLUMNS ? count - j : GEMM_COLUMNS;
        int64_t at = i * p->n + first + j, stride = direct ? p->n : GEMM_COLUMNS;
        float *c = direct ? (float *)p->c->data + at : block;
        if (tensor_given(p->bias)) {
            load_floats(bias, p->bias, first + j, width);
        }
        for (int64_t r = 0; !direct && p->accumulate && r < rows; r++) {
            load_floats(block + r * stride, p->c, at + r * p->n, width);
        }
        CPU(gemm_block)
        (c, stride, p->accumulate, tensor_given(p->bias) ? bias : NULL, a, row, column,
                panels + j * p->k, p->k, rows, width, p->k);
        for (int64_t r = 0; !direct && r < rows; r++) {
            store_floats(p->c, at + r * p->n, block + r * stride, width);
        }
    }
}

// Part `part` of `parts` of [0, count), in whole steps.
static int64_t part_start(int64_t count, int64_t step, int part, int parts) {
    int64_t steps = (count + step - 1) / step;
    int64_t at = steps * part / parts * step;
    return at < count ? at : count;
}

// One thread's share of a round: columns [first, first + count) of C.
static void product_share(const struct product *p, const float *packed, float *room,
        int64_t first, int64_t count, int part, int parts) {
    bool by_rows = p->m / GEMM_ROWS >= parts || p->m > count;
    int64_t i = 0, rows_end = p->m, j = 0, columns_end = count;
    if (by_rows) {
        i = part_start(p->m, GEMM_TALL, part, parts);
        rows_end = part_start(p->m, GEMM_TALL, part + 1, parts);
    } else {
        j = part_start(count, GEMM_COLUMNS, part, parts);
        columns_end = part_start(count, GEMM_COLUMNS, part + 1, parts);
    }
    for (; i < rows_end && j < columns_end; i += GEMM_ROWS) {
        int64_t row, column, rows = rows_end - i < GEMM_ROWS ? rows_end - i : GEMM_ROWS;
        const float *a = CPU(gemm_rows)(room, &p->a, p->k, i, rows, &row, &column);
        product_block(p, a, row, column, packed + j * p->k, i, rows, first + j,
                columns_end - j);
    }
}

static void product_run(
        struct stream *stream, const struct product *p, struct tensor *scratch) {
    int64_t columns = round_columns(p->n, p->k), room = rows_floats(p->k);
    // The round lies at the end, so that the plan's last bytes are used.
    float *rooms = scratch->data;
    float *packed = rooms + tensor_bytes(scratch) / 64 * 16 - packed_floats(p->n, p->k);
    int threads = p->m * p->n * p->k < 1 << 17 ? 1 : stream->threads;
    assert(tensor_bytes(scratch) >= product_scratch(p->n, p->k, threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int part = thread_index(), parts = thread_count();
        for (int64_t first = 0; first < p->n; first += columns) {
            int64_t count = p->n - first < columns ? p->n - first : columns;
#pragma omp for schedule(static)
            for (int64_t j = 0; j < count; j += GEMM_COLUMNS) {
                int64_t width = count - j < GEMM_COLUMNS ? count - j : GEMM_COLUMNS;
                CPU(gemm_pack)(packed + j * p->k, &p->b, p->k, first + j, width);
            }
            product_share(p, packed, rooms + part * room, first, count, part, parts);
            if (first + columns < p->n) {
#pragma omp barrier
            }
        }
    }
}

bool CPU(matmul_forward)(struct stream *stream, struct tensor *out,
        struct tensor *scratch, const struct tensor *x, const struct tensor *weight,
        const struct tensor *bias, struct kernel_error *err) {
    (void)err;
    int64_t N = weight->size[0], K = weight->size[1], M = tensor_count(x) / K;
    bool tf32 = stream->options.math == MATH_TF32;
    assert(tensor_count(x) == M * K && tensor_count(out) == M * N);
    struct product p = {.c = out,
            .m = M,
            .n = N,
            .k = K,
            .a = {x, 0, K, 1, tf32},
            .b = {weight, 0, 1, K, tf32},
            .bias = bias};
    product_run(stream, &p, scratch);
    return true;
}

bool CPU(matmul_backward_input)(struct stream *stream, struct tensor *dx,
        struct tensor *scratch, const struct tensor *dout, const struct tensor *weight,
        bool accumulate, struct kernel_error *err) {
    (void)err;
    int64_t N = weight->size[0], K = weight->size[1], M = tensor_count(dout) / N;
    bool tf32 = stream->options.math == MATH_TF32;
    assert(tensor_count(dout) == M * N && tensor_count(dx) == M * K);
    struct product p = {.c = dx,
            .m = M,
            .n = K,
            .k = N,
            .a = {dout, 0, N, 1, tf32},
            .b = {weight, 0, K, 1, tf32},
            .accumulate = accumulate};
    product_run(stream, &p, scratch);
    return true;
}

// Column sums of dout, a few columns a thread, rows in order.
static void bias_gradient(struct stream *stream, struct tensor *dbias,
        const struct tensor *dout, int64_t M, int64_t N, bool accumulate) {
    enum { WIDE = 64 };
    int threads = threads_for(stream, tensor_bytes(dout));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t n = 0; n < N; n += WIDE) {
        float sum[WIDE] ALIGNED = {0}, line[WIDE] ALIGNED;
        int64_t width = N - n < WIDE ? N - n : WIDE;
        if (accumulate) {
            load_floats(sum, dbias, n, width);
        }
        for (int64_t m = 0; m < M; m++) {
            const float *d = read_floats(line, dout, m * N + n, width);
#pragma omp simd
            for (int64_t i = 0; i < width; i++) {
                sum[i] += d[i];
            }
        }
        store_floats(dbias, n, sum, width);
    }
}

bool CPU(matmul_backward_weight)(struct stream *stream, struct tensor *dweight,
        struct tensor *dbias, struct tensor *scratch, const struct tensor *dout,
        const struct tensor *x, bool accumulate, struct kernel_error *err) {
    (void)err;
    int64_t N = dweight->size[0], K = dweight->size[1], M = tensor_count(x) / K;
    bool tf32 = stream->options.math == MATH_TF32;
    assert(tensor_count(x) == M * K && tensor_count(dout) == M * N);
    struct product p = {.c = dweight,
            .m = N,
            .n = K,
            .k = M,
            .a = {dout, 0, 1, N, tf32},
            .b = {x, 0, K, 1, tf32},
            .accumulate = accumulate};
    product_run(stream, &p, scratch);
    if (tensor_given(dbias)) {
        bias_gradient(stream, dbias, dout, M, N, accumulate);
    }
    return true;
}
