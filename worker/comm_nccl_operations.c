#include "worker/comm_nccl_state.h"

struct operation {
    enum nccl_act act;
    const void *from;
    void *to;
    size_t count; // elements that this rank hands in, or of one shard
    enum dtype type;
    cudaStream_t stream; // that it runs on, once it is queued
};

/* Which capture the stream is in; 0: none. */
static bool find_capture(
        cudaStream_t stream, unsigned long long *out, struct text *err) {
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    unsigned long long id = 0;
#if CUDART_VERSION >= 13000
    cudaError_t asked =
            cudaStreamGetCaptureInfo(stream, &status, &id, NULL, NULL, NULL, NULL);
#else
    cudaError_t asked =
            cudaStreamGetCaptureInfo(stream, &status, &id, NULL, NULL, NULL);
#endif
    *out = status == cudaStreamCaptureStatusActive ? id + 1 : 0;
    return comm_nccl_cuda(asked, "asking for a capture", err);
}

static ncclResult_t call(struct nccl *n, const struct operation *o) {
    static const ncclDataType_t types[] = {[DTYPE_F32] = ncclFloat32,
            [DTYPE_BF16] = ncclBfloat16,
            [DTYPE_F16] = ncclFloat16,
            [DTYPE_F64] = ncclFloat64};
    switch (o->act) {
    case ALL_REDUCE:
        return n->lib->all_reduce(o->from, o->to, o->count, types[o->type], ncclSum,
                n->handle, o->stream);
    case REDUCE_SCATTER:
        return n->lib->reduce_scatter(o->from, o->to, o->count, types[o->type], ncclSum,
                n->handle, o->stream);
    default:
        return n->lib->all_gather(o->from, o->to, o->count * dtype_size(o->type),
                ncclUint8, n->handle, o->stream);
    }
}

/* As call(). NCCL connects, and allocates, on the first operation that goes a new way:
 * what way it goes depends on its size. */
static ncclResult_t call_measured(
        struct nccl *n, const struct operation *o, bool captured) {
    uint64_t class = 1;
    for (size_t bytes = o->count * dtype_size(o->type); bytes > 1; bytes /= 2) {
        class *= 2;
    }
    bool known = captured || (n->sizes[o->act] & class);
    n->sizes[o->act] |= captured ? 0 : class;
    int64_t before = known ? 0 : comm_nccl_free_bytes();
    ncclResult_t status = call(n, o);
    if (!known) {
        comm_nccl_add_taken(n, before);
    }
    return status;
}

/* What the links carry for one rank. */
static void count_bytes(
        struct nccl *n, const struct operation *o, unsigned long long capture) {
    long long world = n->base.ranks.world;
    long long bytes = (long long)(o->count * dtype_size(o->type)) * (world - 1);
    if (o->act == ALL_REDUCE) {
        bytes = 2 * bytes / world;
    }
    if (!capture) {
        atomic_fetch_add(&n->base.bytes_moved, bytes);
        return;
    }
    n->captured_bytes = (n->capture == capture ? n->captured_bytes : 0) + bytes;
    n->capture = capture;
}

/* Off multiples of 16 bytes the symmetric kernels of 2.28.3 add up wrongly. */
static bool check_place(const struct operation *o, struct text *err) {
    size_t bytes = o->count * dtype_size(o->type);
    return ((uintptr_t)o->from | (uintptr_t)o->to | bytes) % 16 == 0 ||
           text_fail(err, "%zu bytes from %p to %p for NCCL: expected multiples of 16",
                   bytes, o->from, o->to);
}

/*
 * On which stream to run what is queued on `stream` now. Kernels that fork off a stream
 * outside of graphs cost those that come later: from the eighth on CUDA leaves 0.2 to
 * 0.4 µs more between any two of the process, in graphs, too (seen on an H100, CUDA
 * 13.0, driver 580). So where steps are graphs, only those fork.
 */
static bool choose_stream(struct nccl *n, struct stream *stream, bool captured,
        cudaStream_t *out, struct text *err) {
    *out = n->captured && !captured ? stream->handle : n->stream;
    return *out == stream->handle ||
           (comm_nccl_cuda(cudaEventRecord(n->ready, stream->handle),
                    "marking a stream", err) &&
                   comm_nccl_cuda(cudaStreamWaitEvent(n->stream, n->ready, 0),
                           "awaiting a stream", err));
}

static bool queue(
        struct comm *c, struct stream *stream, struct operation *o, struct text *err) {
    struct nccl *n = (struct nccl *)c;
    if (!check_place(o, err)) {
        return false;
    }
    struct nccl_slot *slot = &n->slots[n->asked % NCCL_SLOTS];
    if (!find_capture(stream->handle, &slot->capture, err) ||
            !choose_stream(n, stream, slot->capture != 0, &o->stream, err)) {
        return false;
    }
    if (o->count > 0 && !comm_nccl_done(n, call_measured(n, o, slot->capture != 0),
                                "cannot queue a collective", err)) {
        return false;
    }
    if (!comm_nccl_cuda(cudaEventRecord(slot->finished, o->stream),
                "marking a collective", err)) {
        return false;
    }
    n->asked++;
    count_bytes(n, o, slot->capture);
    return true;
}

bool comm_nccl_all_reduce(struct comm *c, struct stream *stream, void *data,
        int64_t count, enum dtype type, struct text *err) {
    struct operation o = {ALL_REDUCE, data, data, (size_t)count, type, NULL};
    return queue(c, stream, &o, err);
}

bool comm_nccl_reduce_scatter(struct comm *c, struct stream *stream, void *data,
        int64_t count, enum dtype type, struct text *err) {
    size_t shard = (size_t)count * dtype_size(type);
    void *own = (char *)data + (size_t)c->ranks.rank * shard;
    struct operation o = {REDUCE_SCATTER, data, own, (size_t)count, type, NULL};
    return queue(c, stream, &o, err);
}

bool comm_nccl_all_gather(struct comm *c, struct stream *stream, const void *from,
        void *data, int64_t count, enum dtype type, struct text *err) {
    struct operation o = {ALL_GATHER, from, data, (size_t)count, type, NULL};
    return queue(c, stream, &o, err);
}

bool comm_nccl_wait(
        struct comm *c, struct stream *stream, int pending, struct text *err) {
    struct nccl *n = (struct nccl *)c;
    if (n->asked <= (uint64_t)pending) {
        return true;
    }
    // Older ones have no mark any more; waiting for a later one is waiting for them.
    uint64_t left = pending < NCCL_SLOTS ? (uint64_t)pending : NCCL_SLOTS - 1;
    const struct nccl_slot *slot = &n->slots[(n->asked - left - 1) % NCCL_SLOTS];
    unsigned long long capture;
    if (!find_capture(stream->handle, &capture, err)) {
        return false;
    }
    // What was captured is over where its graph is, and what was queued before a graph
    // is over before that: comm_replay() saw to it.
    return slot->capture != capture ||
           comm_nccl_cuda(cudaStreamWaitEvent(stream->handle, slot->finished, 0),
                   "awaiting a collective", err);
}

bool comm_nccl_replay(struct comm *c, struct stream *stream, struct text *err) {
    struct nccl *n = (struct nccl *)c;
    atomic_fetch_add(&c->bytes_moved, n->captured_bytes);
    return comm_nccl_cuda(
                   cudaEventRecord(n->idle, n->stream), "marking NCCL's stream", err) &&
           comm_nccl_cuda(cudaStreamWaitEvent(stream->handle, n->idle, 0),
                   "awaiting NCCL's stream", err);
}
