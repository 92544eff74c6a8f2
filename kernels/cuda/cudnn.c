/*
 * Attention by cuDNN. Plans are built once a process for each device, shape and type,
 * by plan(), and live as long as the process does; a pass then only hands pointers
 * over. One lock guards cuDNN's handles and the plans.
 *
 * Scratch, each part at a multiple of 256 bytes: cuDNN's workspace, then statistics
 * that nobody keeps (forward), or the rows' sums and the gradient of queries in fp32
 * (backward).
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "kernels/cuda/cudnn_plan.h"
#include "kernels/cuda/ops.h"

enum { ALIGNMENT = 256 };

struct device {
    struct device *next;
    int index;
    cudnnHandle_t handle;
};

struct entry {
    struct entry *next;
    const struct device *device;
    struct cudnn_problem problem;
    struct cudnn_plan plan;
    int32_t *lengths; // device memory [B], all T, where the graph is padded
};

static struct {
    pthread_mutex_t lock;
    struct device *devices;
    struct entry *entries;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* -- the cache -----------------------------------------------------------------------
 */

static struct cudnn_problem problem_of(
        const struct attention_shape *shape, enum dtype type, enum cudnn_pass pass) {
    struct cudnn_problem p = {.pass = pass, .type = type, .shape = *shape};
    if (p.shape.window >= p.shape.seq_len) {
        p.shape.window = 0;
    }
    // Forward adds in one order, whatever is asked for.
    p.shape.deterministic = shape->deterministic && pass == CUDNN_PASS_BACKWARD;
    return p;
}

static bool same(const struct cudnn_problem *a, const struct cudnn_problem *b) {
    const struct attention_shape *s = &a->shape, *t = &b->shape;
    return a->pass == b->pass && a->type == b->type && s->batch == t->batch &&
           s->seq_len == t->seq_len && s->heads == t->heads &&
           s->kv_heads == t->kv_heads && s->head_dim == t->head_dim &&
           s->window == t->window && s->deterministic == t->deterministic;
}

static struct device *open_device(
        const struct cudnn_library *lib, int index, struct kernel_error *err) {
    for (struct device *d = cache.devices; d; d = d->next) {
        if (d->index == index) {
            return d;
        }
    }
    struct device *d = calloc(1, sizeof *d);
    if (!d) {
        kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for cuDNN's handle");
        return NULL;
    }
    if (!cuda_done(cudaSetDevice(index), "choosing the device", err) ||
            !cudnn_library_done(lib, lib->create_handle(&d->handle), "starting cuDNN",
                    KERNEL_DEVICE_FAULT, err)) {
        free(d);
        return NULL;
    }
    d->index = index;
    d->next = cache.devices;
    cache.devices = d;
    return d;
}

static bool upload_lengths(struct entry *e, struct kernel_error *err) {
    int64_t B = e->problem.shape.batch;
    size_t bytes = (size_t)B * sizeof(int32_t);
    int32_t *lengths = malloc(bytes);
    if (!lengths) {
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for lengths");
    }
    for (int64_t b = 0; b < B; b++) {
        lengths[b] = (int32_t)e->problem.shape.seq_len;
    }
    bool good =
            cuda_done(cudaMalloc((void **)&e->lengths, bytes),
                    "lengths for cuDNN's mask", err) &&
            cuda_done(cudaMemcpy(e->lengths, lengths, bytes, cudaMemcpyHostToDevice),
                    "copying lengths", err);
    free(lengths);
    return good;
}

static struct entry *build(const struct cudnn_library *lib, int device,
        const struct cudnn_problem *problem, struct kernel_error *err) {
    struct device *d = open_device(lib, device, err);
    struct entry *e = d ? calloc(1, sizeof *e) : NULL;
    if (!e) {
        if (d) {
            kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for a plan of cuDNN");
        }
        return NULL;
    }
    e->device = d;
    e->problem = *problem;
    if (cuda_done(cudaSetDevice(device), "choosing the device", err) &&
            cudnn_plan_init(&e->plan, lib, d->handle, NULL, problem, err) &&
            (!cudnn_attention_is_padded(problem, lib->version) ||
                    upload_lengths(e, err))) {
        e->next = cache.entries;
        cache.entries = e;
        return e;
    }
    (void)cudaFree(e->lengths);
    cudnn_plan_finish(&e->plan);
    free(e);
    return NULL;
}

// The problem's plan, built unless plan() has. Under the lock.
static struct entry *find(
        int device, const struct cudnn_problem *problem, struct kernel_error *err) {
    for (struct entry *e = cache.entries; e; e = e->next) {
        if (e->device->index == device && same(&e->problem, problem)) {
            return e;
        }
    }
    const struct cudnn_library *lib = cudnn_library_open(err);
    return lib ? build(lib, device, problem, err) : NULL;
}

/* -- memory --------------------------------------------------------------------------
 */

static size_t padded(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t rows_bytes(const struct attention_shape *s) {
    return (size_t)(s->batch * s->heads * s->seq_len) * sizeof(float);
}

// Scratch is aligned to 64 bytes only: room for going up to the next multiple.
static size_t scratch_bytes(const struct entry *e) {
    const struct attention_shape *s = &e->problem.shape;
    size_t bytes = ALIGNMENT + padded(e->plan.workspace) + padded(rows_bytes(s));
    if (e->problem.pass == CUDNN_PASS_BACKWARD && !s->deterministic) {
        bytes += padded(rows_bytes(s) * (size_t)s->head_dim);
    }
    return bytes;
}

static unsigned char *aligned(void *memory) {
    return (unsigned char *)(((uintptr_t)memory + ALIGNMENT - 1) / ALIGNMENT *
                             ALIGNMENT);
}

static bool is_served(const struct attention_shape *s, enum dtype type, int *device,
        struct kernel_error *err) {
    assert(s->head_dim % 8 == 0 && s->head_dim <= 128 && s->heads % s->kv_heads == 0);
    if (type != DTYPE_BF16 && type != DTYPE_F16) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "cuDNN has attention with gradients for bf16 and fp16, not for %s",
                dtype_name(type));
    }
    if (s->seq_len < 2) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "cuDNN has no attention over a sequence of one token");
    }
    cudaError_t status = cudaGetDevice(device);
    if (status == cudaSuccess) {
        int count = 0; // the current device is 0 even where there is none
        status = cudaGetDeviceCount(&count);
    }
    return status == cudaSuccess ||
           kernel_fail(err, KERNEL_UNSUPPORTED, "cuDNN plans only where a GPU is: %s",
                   cudaGetErrorString(status));
}

static bool plan(const struct attention_shape *shape, enum dtype type, int threads,
        struct attention_memory *out, struct kernel_error *err) {
    (void)threads;
    int device = 0;
    if (!is_served(shape, type, &device, err)) {
        return false;
    }
    struct cudnn_problem forward = problem_of(shape, type, CUDNN_PASS_FORWARD);
    struct cudnn_problem backward = problem_of(shape, type, CUDNN_PASS_BACKWARD);
    pthread_mutex_lock(&cache.lock);
    struct entry *f = find(device, &forward, err);
    struct entry *b = f ? find(device, &backward, err) : NULL;
    if (b) {
        *out = (struct attention_memory){.saved = rows_bytes(shape),
                .forward_scratch = scratch_bytes(f),
                .backward_scratch = scratch_bytes(b)};
    }
    pthread_mutex_unlock(&cache.lock);
    return b;
}

/* -- passes --------------------------------------------------------------------------
 */

// Element `head` of every token's row: where queries, keys or values begin.
static void *at_head(
        const struct tensor *t, const struct attention_shape *s, int64_t head) {
    return (unsigned char *)t->data +
           (size_t)(head * s->head_dim) * dtype_size(t->type);
}

static bool run(struct stream *stream, struct entry *e, const struct tensor *scratch,
        void *operands[], struct kernel_error *err) {
    const struct cudnn_library *lib = e->plan.graph.lib;
    if (tensor_bytes(scratch) < scratch_bytes(e)) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "cuDNN asks for more scratch on this device than was planned");
    }
    operands[OPERAND_QUERIES] = operands[OPERAND_KEYS] = e->lengths;
    return cudnn_library_done(lib, lib->set_stream(e->device->handle, stream->handle),
                   "giving cuDNN a stream", KERNEL_DEVICE_FAULT, err) &&
           cudnn_plan_run(
                   &e->plan, e->device->handle, operands, aligned(scratch->data), err);
}

static void give_qkv(void *operands[], const struct tensor *qkv,
        const struct attention_shape *s, enum cudnn_operand first) {
    operands[first] = at_head(qkv, s, 0);
    operands[first + 1] = at_head(qkv, s, s->heads);
    operands[first + 2] = at_head(qkv, s, s->heads + s->kv_heads);
}

static bool forward(struct stream *stream, struct tensor *out, struct tensor *saved,
        struct tensor *scratch, const struct tensor *qkv,
        const struct attention_shape *shape, struct kernel_error *err) {
    struct cudnn_problem problem = problem_of(shape, qkv->type, CUDNN_PASS_FORWARD);
    void *operands[OPERAND_FIRST_SCALAR] = {[OPERAND_OUT] = out->data};
    give_qkv(operands, qkv, shape, OPERAND_Q);
    pthread_mutex_lock(&cache.lock);
    struct entry *e = find(stream->options.device, &problem, err);
    bool good = false;
    if (e) {
        operands[OPERAND_STATS] =
                tensor_given(saved)
                        ? saved->data
                        : aligned(scratch->data) + padded(e->plan.workspace);
        good = run(stream, e, scratch, operands, err);
    }
    pthread_mutex_unlock(&cache.lock);
    return good;
}

static bool backward(struct stream *stream, struct tensor *dqkv, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *out, const struct tensor *qkv,
        const struct tensor *saved, const struct attention_shape *shape,
        struct kernel_error *err) {
    struct cudnn_problem problem = problem_of(shape, qkv->type, CUDNN_PASS_BACKWARD);
    void *operands[OPERAND_FIRST_SCALAR] = {[OPERAND_OUT] = out->data,
            [OPERAND_DOUT] = dout->data,
            [OPERAND_STATS] = saved->data};
    give_qkv(operands, qkv, shape, OPERAND_Q);
    give_qkv(operands, dqkv, shape, OPERAND_DQ);
    pthread_mutex_lock(&cache.lock);
    struct entry *e = find(stream->options.device, &problem, err);
    bool good = false;
    if (e) {
        unsigned char *sums = aligned(scratch->data) + padded(e->plan.workspace);
        operands[OPERAND_ROW_SUMS] = sums;
        operands[OPERAND_DQ_SUMS] = sums + padded(rows_bytes(shape));
        good = run(stream, e, scratch, operands, err);
    }
    pthread_mutex_unlock(&cache.lock);
    return good;
}

const struct attention_kernel cuda_cudnn = {
        .name = "cudnn", .plan = plan, .forward = forward, .backward = backward};
