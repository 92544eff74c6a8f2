#include "kernels/cuda/tune.h"

#include <assert.h>
#include <string.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/fill.h"

enum {
    REPEATS = 3,    // runs that must agree
    ROUNDS = 5,     // timings of a finalist
    FINALISTS = 4,  // candidates worth more than one timing
    SETS_MAX = 32,  // copies of the operands, taken in turn
    HEAD_START = 4, // fills of the workspace while the host queues launches
};
/* Operands in turn take more than any second-level cache holds. */
static const size_t rotated_bytes = (size_t)128 << 20;
/* Timing a candidate should not take much longer. */
static const double round_ms = 0.15, verify_ms = 8;

struct bench {
    struct product *product;
    cublasLtHandle_t handle;
    struct stream *stream;
    struct gemm_call call;
    char *memory, *workspace; // sets, then sums, then the workspace
    unsigned long long *sums; // one a repeat
    size_t bytes, set_bytes, b_at, bias_at, out_at, out_bytes;
    int sets;
    cudaEvent_t from, to;
};

static size_t whole(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

// Bytes of `batch` matrices [rows, columns] in their strides.
static size_t extent(int64_t rows, int64_t columns, int64_t ld, int64_t batch,
        int64_t stride, enum dtype type) {
    int64_t elements = (batch - 1) * stride + (rows - 1) * ld + columns;
    return (size_t)elements * dtype_size(type);
}

static void place(struct bench *b) {
    const struct gemm_call *c = &b->call;
    size_t a = extent(c->transpose_a ? c->k : c->m, c->transpose_a ? c->m : c->k,
            c->lda, c->batch, c->stride_a, c->type);
    size_t other = extent(c->transpose_b ? c->n : c->k, c->transpose_b ? c->k : c->n,
            c->ldb, c->batch, c->stride_b, c->type);
    // A fingerprint covers all of out.
    assert(c->ldout == c->n && (c->batch == 1 || c->stride_out == c->m * c->n));
    b->out_bytes = (size_t)(c->batch * c->m * c->n) * dtype_size(c->out_type);
    b->b_at = whole(a);
    b->bias_at = b->b_at + whole(other);
    b->out_at = b->bias_at + (c->bias ? whole((size_t)c->n * dtype_size(c->type)) : 0);
    b->set_bytes = b->out_at + whole(b->out_bytes);
    size_t sets = 1 + rotated_bytes / b->set_bytes;
    b->sets = sets < SETS_MAX ? (int)sets : SETS_MAX;
    b->bytes = (size_t)b->sets * b->set_bytes + 256 + CUDA_WORKSPACE;
}

static void close_bench(struct bench *b) {
    if (b->from) {
        (void)cudaEventDestroy(b->from);
    }
    if (b->to) {
        (void)cudaEventDestroy(b->to);
    }
    if (b->memory) {
        cuda_release(b->stream->options.device, MEMORY_DEVICE, b->memory, b->bytes);
    }
}

static bool open_bench(struct bench *b, struct kernel_error *err) {
    void *memory = NULL;
    place(b);
    if (!cuda_done(cudaEventCreate(&b->from), "creating an event", err) ||
            !cuda_done(cudaEventCreate(&b->to), "creating an event", err) ||
            !cuda_allocate(
                    b->stream->options.device, MEMORY_DEVICE, b->bytes, &memory, err)) {
        return false;
    }
    b->memory = memory;
    b->sums = (unsigned long long *)(b->memory + (size_t)b->sets * b->set_bytes);
    b->workspace = (char *)b->sums + 256;
    // Bits of narrow numbers from −1 to 1 are finite ones to fp32 as well.
    size_t size = dtype_size(b->call.type);
    return fill_random(b->stream, b->memory, b->call.type,
            (int64_t)((size_t)b->sets * b->set_bytes / size), err);
}

static bool poison(struct bench *b, void *memory, int byte, size_t bytes,
        struct kernel_error *err) {
    return cuda_done(
            cudaMemsetAsync(memory, byte, bytes, b->stream->handle), "a fill", err);
}

static bool launch(struct bench *b, int set, struct kernel_error *err) {
    char *at = b->memory + (size_t)set * b->set_bytes;
    struct gemm_call call = b->call;
    call.a = at;
    call.b = at + b->b_at;
    call.bias = call.bias ? at + b->bias_at : NULL;
    call.out = at + b->out_at;
    return (!b->product->bias_before ||
                   fill_rows(b->stream, call.out, call.out_type, call.m, call.n,
                           call.ldout, call.bias, err)) &&
           product_launch(
                   b->product, b->handle, &call, b->workspace, b->stream->handle, err);
}

static bool wait(struct bench *b, struct kernel_error *err) {
    return cuda_stream_synchronize(b->stream, err);
}

// One run over poisoned memory, and the fingerprint of its result.
static bool run_poisoned(struct bench *b, int repeat, struct kernel_error *err) {
    static const int bytes[REPEATS] = {0xff, 0x00, 0x5a};
    char *out = b->memory + b->out_at;
    enum dtype type = b->call.out_type;
    bool fresh = b->call.accumulate
                         ? fill_random(b->stream, out, type,
                                   (int64_t)(b->out_bytes / dtype_size(type)), err)
                         : poison(b, out, bytes[repeat], b->out_bytes, err);
    return fresh && poison(b, b->workspace, bytes[repeat], CUDA_WORKSPACE, err) &&
           launch(b, 0, err) &&
           fill_hash(
                   b->stream, b->sums + repeat, out, (int64_t)(b->out_bytes / 2), err);
}

// *good: the candidate runs, and always to the same bits.
static bool verify(struct bench *b, bool *good, struct kernel_error *err) {
    unsigned long long sums[REPEATS];
    struct kernel_error refusal = {0};
    bool ran = poison(b, b->sums, 0, sizeof(sums), err);
    *good = false;
    if (!ran) {
        return false;
    }
    for (int i = 0; ran && i < REPEATS; i++) {
        ran = run_poisoned(b, i, &refusal);
    }
    if (!ran) {
        *err = refusal.kind == KERNEL_UNSUPPORTED ? *err : refusal;
        return refusal.kind == KERNEL_UNSUPPORTED && wait(b, err);
    }
    if (!cuda_done(cudaMemcpyAsync(sums, b->sums, sizeof(sums), cudaMemcpyDeviceToHost,
                           b->stream->handle),
                "a copy", err) ||
            !wait(b, err)) {
        return false;
    }
    *good = sums[0] == sums[1] && sums[0] == sums[2];
    return true;
}

// `count` launches in a row, as a step's graph has them.
static bool capture(
        struct bench *b, int count, struct graph **out, struct kernel_error *err) {
    struct kernel_error ignored;
    if (!cuda_graph_begin(b->stream, err)) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (!launch(b, i % b->sets, err)) {
            // The stream leaves capture; what failed has been said.
            if (cuda_graph_end(b->stream, out, &ignored)) {
                cuda_graph_destroy(*out);
            }
            *out = NULL;
            return false;
        }
    }
    return cuda_graph_end(b->stream, out, err);
}

// Milliseconds of a graph that has run before, queued while the device is busy with
// fills: a host that is late by less than those take, as ranks that tune at once make
// each other, is not in them.
static bool replay(
        struct bench *b, struct graph *graph, float *ms, struct kernel_error *err) {
    for (int i = 0; i < HEAD_START; i++) {
        if (!poison(b, b->workspace, 0xff, CUDA_WORKSPACE, err)) {
            return false;
        }
    }
    return cuda_done(cudaEventRecord(b->from, b->stream->handle), "timing", err) &&
           cuda_graph_launch(b->stream, graph, err) &&
           cuda_done(cudaEventRecord(b->to, b->stream->handle), "timing", err) &&
           wait(b, err) &&
           cuda_done(cudaEventElapsedTime(ms, b->from, b->to), "timing", err);
}

// Mean milliseconds of `count` launches in a row.
static bool time_launches(
        struct bench *b, int count, double *ms, struct kernel_error *err) {
    struct graph *graph = NULL;
    float elapsed = 0;
    bool good = capture(b, count, &graph, err) &&
                cuda_graph_launch(b->stream, graph, err) &&
                replay(b, graph, &elapsed, err);
    cuda_graph_destroy(graph);
    *ms = elapsed / count;
    return good;
}

struct candidate {
    cublasLtMatmulAlgo_t algorithm;
    double ms, times[ROUNDS];
};

static void sort_candidates(struct candidate *c, int count) {
    for (int i = 1; i < count; i++) {
        for (int j = i; j > 0 && c[j].ms < c[j - 1].ms; j--) {
            struct candidate held = c[j];
            c[j] = c[j - 1];
            c[j - 1] = held;
        }
    }
}

// Those that run and repeat, each timed once, the fastest first.
static bool qualify(struct bench *b, const cublasLtMatmulAlgo_t *offered, int count,
        struct candidate *kept, int *kept_count, struct kernel_error *err) {
    *kept_count = 0;
    for (int i = 0; i < count; i++) {
        struct candidate c = {.algorithm = offered[i]};
        bool good;
        // Large products have few candidates worth their time.
        if (*kept_count >= FINALISTS && *kept_count * kept[0].ms > verify_ms) {
            break;
        }
        // What the library offers but would refuse from the table is of no use.
        if (!product_allows(b->product, b->handle, &offered[i])) {
            continue;
        }
        b->product->algorithm = offered[i];
        if (!verify(b, &good, err)) {
            return false;
        }
        if (good) {
            if (!time_launches(b, 2, &c.ms, err)) {
                return false;
            }
            kept[(*kept_count)++] = c;
        }
    }
    sort_candidates(kept, *kept_count);
    return true;
}

static double median(double *times, int count) {
    for (int i = 1; i < count; i++) {
        for (int j = i; j > 0 && times[j] < times[j - 1]; j--) {
            double held = times[j];
            times[j] = times[j - 1];
            times[j - 1] = held;
        }
    }
    return times[count / 2];
}

// Several timings of the first few, in turn, so that a drifting clock meets all.
static bool decide(
        struct bench *b, struct candidate *c, int count, struct kernel_error *err) {
    double fit = round_ms / c[0].ms;
    int finalists = count < FINALISTS ? count : FINALISTS;
    int launches = fit < 1 ? 1 : fit > 8 ? 8 : (int)fit;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < finalists; i++) {
            b->product->algorithm = c[i].algorithm;
            if (!time_launches(b, launches, &c[i].times[round], err)) {
                return false;
            }
        }
    }
    for (int i = 0; i < finalists; i++) {
        c[i].ms = median(c[i].times, ROUNDS);
    }
    sort_candidates(c, finalists);
    return true;
}

static bool tune(struct bench *b, struct candidate *kept, struct kernel_error *err) {
    cublasLtMatmulAlgo_t offered[PRODUCT_CANDIDATES];
    int count, kept_count;
    if (!product_candidates(b->product, b->handle, offered, &count, err) ||
            !open_bench(b, err) ||
            !qualify(b, offered, count, kept, &kept_count, err)) {
        return false;
    }
    if (kept_count == 0) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "none of cuBLASLt's %d algorithms for a product %lld × %lld × %lld "
                "repeats bit for bit",
                count, (long long)b->call.m, (long long)b->call.n,
                (long long)b->call.k);
    }
    return decide(b, kept, kept_count, err);
}

bool tune_product(struct product *p, cublasLtHandle_t handle, struct stream *stream,
        const struct gemm_call *call, double *microseconds, struct kernel_error *err) {
    struct candidate kept[PRODUCT_CANDIDATES];
    cublasLtMatmulAlgo_t before = p->algorithm;
    struct bench b = {.product = p, .handle = handle, .stream = stream, .call = *call};
    bool good = tune(&b, kept, err);
    close_bench(&b);
    p->algorithm = good ? kept[0].algorithm : before;
    *microseconds = good ? kept[0].ms * 1000 : 0;
    return good;
}
