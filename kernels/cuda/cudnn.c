/*
 * Attention by cuDNN. Plans are built once a process for each device, shape and type,
 * by plan(), and live as long as the process does; a pass then only hands pointers
 * over. One lock guards cuDNN's handles and the plans.
 *
 * Scratch, each part at a multiple of 256 bytes: cuDNN's workspace, then statistics
 * that nobody keeps (forward), or the rows' sums and the gradient of queries in fp32
 * (backward).
 *
 * Deterministic, backward keeps a gradient of every score in its workspace: bytes that
 * grow with the square of the sequence. So it runs over slices, some heads of some
 * sequences at a time, one after the other in the same workspace.
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "kernels/cuda/cudnn_plan.h"
#include "kernels/cuda/ops.h"

enum { ALIGNMENT = 256 };

// Of gradients of scores in a workspace: 64 heads over 4096 tokens, or 16 over 8192.
// Smaller slices would leave a GPU idle.
#define SLICE_BYTES ((int64_t)2 << 30)

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

// Of `heads` key heads, with their queries, of `batch` sequences.
static struct cudnn_problem problem_of(const struct attention_shape *shape,
        enum dtype type, enum cudnn_pass pass, int64_t batch, int64_t heads) {
    struct cudnn_problem p = {.pass = pass,
            .type = type,
            .shape = *shape,
            .row_heads = shape->heads,
            .row_kv_heads = shape->kv_heads};
    p.shape.batch = batch;
    p.shape.kv_heads = heads;
    p.shape.heads = heads * (shape->heads / shape->kv_heads);
    if (p.shape.window >= p.shape.seq_len) {
        p.shape.window = 0;
    }
    // Forward adds in one order, whatever is asked for.
    p.shape.deterministic = shape->deterministic && pass == CUDNN_PASS_BACKWARD;
    return p;
}

// Of `count` things of `bytes` each, how many to take at a time: as evenly as can be.
static int64_t share_of(int64_t count, int64_t bytes) {
    const char *wanted = getenv("LM_CUDNN_SLICE_BYTES");
    int64_t most = wanted ? strtoll(wanted, NULL, 10) : SLICE_BYTES;
    int64_t fit = most > bytes ? most / bytes : 1;
    int64_t times = (count + fit - 1) / fit;
    return (count + times - 1) / times;
}

// The sequences and key heads of one slice of backward, but for the last ones. cuDNN is
// told that statistics begin at multiples of 16 bytes: so does every slice.
static void cut(const struct attention_shape *s, enum dtype type, int64_t *batch,
        int64_t *heads) {
    int64_t T = s->seq_len, group = s->heads / s->kv_heads;
    int64_t bytes = group * T * T * (int64_t)dtype_size(type);
    *batch = s->batch;
    *heads = s->kv_heads;
    if (s->deterministic && s->heads * T % 4 == 0) {
        *batch = share_of(s->batch, s->kv_heads * bytes);
    }
    if (s->deterministic && *batch == 1 && group * T % 4 == 0) {
        *heads = share_of(s->kv_heads, bytes);
    }
}

static bool same(const struct cudnn_problem *a, const struct cudnn_problem *b) {
    const struct attention_shape *s = &a->shape, *t = &b->shape;
    return a->pass == b->pass && a->type == b->type && s->batch == t->batch &&
           s->seq_len == t->seq_len && s->heads == t->heads &&
           s->kv_heads == t->kv_heads && s->head_dim == t->head_dim &&
           s->window == t->window && s->deterministic == t->deterministic &&
           a->row_heads == b->row_heads && a->row_kv_heads == b->row_kv_heads;
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

// Of a number a row and head, in fp32.
static size_t rows_bytes(int64_t batch, int64_t heads, int64_t seq_len) {
    return (size_t)(batch * heads * seq_len) * sizeof(float);
}

// Scratch is aligned to 64 bytes only: room for going up to the next multiple.
static size_t scratch_bytes(const struct entry *e) {
    const struct attention_shape *s = &e->problem.shape;
    size_t rows = rows_bytes(s->batch, e->problem.row_heads, s->seq_len);
    size_t bytes = ALIGNMENT + padded(e->plan.workspace) + padded(rows);
    if (e->problem.pass == CUDNN_PASS_BACKWARD && !s->deterministic) {
        bytes += padded(rows * (size_t)s->head_dim);
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

// Every slice's plan, and the scratch of the largest. Under the lock.
static bool plan_backward(int device, const struct attention_shape *s, enum dtype type,
        size_t *scratch, struct kernel_error *err) {
    int64_t batch, heads;
    cut(s, type, &batch, &heads);
    const int64_t batches[] = {batch, s->batch % batch};
    const int64_t groups[] = {heads, s->kv_heads % heads};
    *scratch = 0;
    for (int i = 0; i < 4; i++) {
        int64_t b = batches[i / 2], g = groups[i % 2];
        if (b == 0 || g == 0) {
            continue;
        }
        struct cudnn_problem problem = problem_of(s, type, CUDNN_PASS_BACKWARD, b, g);
        struct entry *e = find(device, &problem, err);
        if (!e) {
            return false;
        }
        size_t bytes = scratch_bytes(e);
        *scratch = bytes > *scratch ? bytes : *scratch;
    }
    return true;
}

static bool plan(const struct attention_shape *shape, enum dtype type, int threads,
        struct attention_memory *out, struct kernel_error *err) {
    (void)threads;
    int device = 0;
    if (!is_served(shape, type, &device, err)) {
        return false;
    }
    struct cudnn_problem forward =
            problem_of(shape, type, CUDNN_PASS_FORWARD, shape->batch, shape->kv_heads);
    pthread_mutex_lock(&cache.lock);
    struct entry *f = find(device, &forward, err);
    bool good = f && plan_backward(device, shape, type, &out->backward_scratch, err);
    if (good) {
        out->saved = rows_bytes(shape->batch, shape->heads, shape->seq_len);
        out->forward_scratch = scratch_bytes(f);
    }
    pthread_mutex_unlock(&cache.lock);
    return good;
}

/* -- passes --------------------------------------------------------------------------
 */

// Where element `head` of sequence `b`'s first row begins; a row has `heads` of them.
static void *at_head(const struct tensor *t, const struct attention_shape *s, int64_t b,
        int64_t head, int64_t heads) {
    return (unsigned char *)t->data +
           (size_t)((b * s->seq_len * heads + head) * s->head_dim) *
                   dtype_size(t->type);
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

// Queries, keys and values from sequence `b` and key head `g` on.
static void give_qkv(void *operands[], const struct tensor *qkv,
        const struct attention_shape *s, int64_t b, int64_t g,
        enum cudnn_operand first) {
    int64_t H = s->heads, G = s->kv_heads;
    operands[first] = at_head(qkv, s, b, g * (H / G), H + 2 * G);
    operands[first + 1] = at_head(qkv, s, b, H + g, H + 2 * G);
    operands[first + 2] = at_head(qkv, s, b, H + G + g, H + 2 * G);
}

static bool forward(struct stream *stream, struct tensor *out, struct tensor *saved,
        struct tensor *scratch, const struct tensor *qkv,
        const struct attention_shape *shape, struct kernel_error *err) {
    struct cudnn_problem problem = problem_of(
            shape, qkv->type, CUDNN_PASS_FORWARD, shape->batch, shape->kv_heads);
    void *operands[OPERAND_FIRST_SCALAR] = {[OPERAND_OUT] = out->data};
    give_qkv(operands, qkv, shape, 0, 0, OPERAND_Q);
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

struct backward {
    struct stream *stream;
    struct tensor *dqkv, *scratch;
    const struct tensor *dout, *out, *qkv, *saved;
    const struct attention_shape *shape;
};

// `batch` sequences from `b` on, `heads` key heads from `g` on. Under the lock.
static bool run_slice(const struct backward *p, int64_t b, int64_t g, int64_t batch,
        int64_t heads, struct kernel_error *err) {
    const struct attention_shape *s = p->shape;
    struct cudnn_problem problem =
            problem_of(s, p->qkv->type, CUDNN_PASS_BACKWARD, batch, heads);
    struct entry *e = find(p->stream->options.device, &problem, err);
    if (!e) {
        return false;
    }
    int64_t H = s->heads, h = g * (H / s->kv_heads);
    unsigned char *sums = aligned(p->scratch->data) + padded(e->plan.workspace);
    void *operands[OPERAND_FIRST_SCALAR] = {[OPERAND_OUT] = at_head(p->out, s, b, h, H),
            [OPERAND_DOUT] = at_head(p->dout, s, b, h, H),
            [OPERAND_STATS] = (float *)p->saved->data + (b * H + h) * s->seq_len,
            [OPERAND_ROW_SUMS] = sums,
            [OPERAND_DQ_SUMS] = sums + padded(rows_bytes(batch, H, s->seq_len))};
    give_qkv(operands, p->qkv, s, b, g, OPERAND_Q);
    give_qkv(operands, p->dqkv, s, b, g, OPERAND_DQ);
    return run(p->stream, e, p->scratch, operands, err);
}

static bool backward(struct stream *stream, struct tensor *dqkv, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *out, const struct tensor *qkv,
        const struct tensor *saved, const struct attention_shape *shape,
        struct kernel_error *err) {
    struct backward p = {stream, dqkv, scratch, dout, out, qkv, saved, shape};
    int64_t batch, heads;
    bool good = true;
    cut(shape, qkv->type, &batch, &heads);
    pthread_mutex_lock(&cache.lock);
    for (int64_t b = 0; good && b < shape->batch; b += batch) {
        int64_t sequences = shape->batch - b < batch ? shape->batch - b : batch;
        for (int64_t g = 0; good && g < shape->kv_heads; g += heads) {
            int64_t left = shape->kv_heads - g;
            good = run_slice(&p, b, g, sequences, left < heads ? left : heads, err);
        }
    }
    pthread_mutex_unlock(&cache.lock);
    return good;
}

const struct attention_kernel cuda_cudnn = {
        .name = "cudnn", .plan = plan, .forward = forward, .backward = backward};
