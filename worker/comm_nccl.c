#include "worker/comm_nccl.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cuda/cuda.h"
#include "worker/comm_backend.h"
#include "worker/comm_nccl_library.h"
#include "worker/comm_nccl_log.h"
#include "worker/thread.h"
#include "worker/ticker.h"

#define POLL_MS 100 // between questions for an error that nobody waits for

#ifndef NCCL_WIN_COLL_SYMMETRIC
#define NCCL_WIN_COLL_SYMMETRIC 1 // in headers from 2.27
#endif

#define POLICY_VERSION 22800 // from which copy engines gather

enum { SLOTS = 256 /* operations told apart by comm_wait() */ };

static_assert(sizeof(ncclUniqueId) <= RANKS_MESSAGE_MAX, "an id is one message");

enum act { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, ACT_COUNT };

struct operation {
    enum act act;
    const void *from;
    void *to;
    size_t count; // elements that this rank hands in, or of one shard
    enum dtype type;
};

/* Marks the end of an operation. An event recorded while a graph was captured means
 * nothing outside that capture, and the other way round. */
struct slot {
    cudaEvent_t finished;
    unsigned long long capture; // 0: none
};

struct piece {
    void *memory, *window;
    size_t bytes;
};

struct nccl {
    struct comm base;
    const struct comm_nccl_library *lib;
    const struct kernels *kernels;
    int device;
    ncclComm_t handle;
    cudaStream_t stream;
    cudaEvent_t ready, idle;
    struct slot slots[SLOTS];
    uint64_t asked; // operations ever queued
    bool beside;
    int max_ctas; // 0: the environment's
    bool in_windows;
    struct text unregistered; // why memory is in no window; empty: it is
    struct piece pieces[COMM_PIECES_MAX];
    int piece_count;
    unsigned long long capture; // that of the last operation captured …
    long long captured_bytes;   // … and what its graph moves
    uint64_t sizes[ACT_COUNT];  // bit k: one of 2^k bytes has been queued
    int64_t device_bytes;       // taken by NCCL

    void (*failed)(void *user, const char *sentence);
    void *user;
    struct ticker watchdog;
};

static struct nccl *nccl_of(struct comm *c) {
    return (struct nccl *)c;
}

static bool cuda(cudaError_t status, const char *what, struct text *err) {
    struct kernel_error why = {0};
    return cuda_done(status, what, &why) || text_fail(err, "%s", why.sentence);
}

static bool done(
        const struct nccl *n, ncclResult_t status, const char *what, struct text *err) {
    return comm_nccl_library_done(n->lib, status, what, err);
}

/* -- the environment -----------------------------------------------------------------
 */

static struct {
    pthread_once_t once;
    struct text given; // "NCCL_ALGO=Ring NCCL_DEBUG=WARN", before ours
} environment = {.once = PTHREAD_ONCE_INIT};

static void prepare_environment(void) {
    for (char **e = environ; *e; e++) {
        if (strncmp(*e, "NCCL_", 5) == 0) {
            text_addf(
                    &environment.given, "%s%s", environment.given.size ? " " : "", *e);
        }
    }
    setenv("NCCL_RAS_ENABLE", "0", 0);
    comm_nccl_log_open();
}

static bool available(struct text *err) {
    return comm_nccl_library_open(err) != NULL;
}

/* -- the device's memory -------------------------------------------------------------
 */

static int64_t free_bytes(void) {
    size_t unused = 0, total;
    return cudaMemGetInfo(&unused, &total) == cudaSuccess ? (int64_t)unused : 0;
}

/* NCCL took what is gone since `before`. Nothing else allocates meanwhile. */
static void add_taken(struct nccl *n, int64_t before) {
    n->device_bytes += before - free_bytes();
}

/* -- start and stop ------------------------------------------------------------------
 */

static bool make_stream(struct nccl *n, struct text *err) {
    int least, greatest;
    if (!cuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "stream priorities",
                err) ||
            !cuda(cudaStreamCreateWithPriority(
                          &n->stream, cudaStreamNonBlocking, greatest),
                    "creating NCCL's stream", err)) {
        return false;
    }
    unsigned flags = cudaEventDisableTiming;
    bool good = cuda(cudaEventCreateWithFlags(&n->ready, flags), "an event", err) &&
                cuda(cudaEventCreateWithFlags(&n->idle, flags), "an event", err);
    for (int i = 0; good && i < SLOTS; i++) {
        good = cuda(cudaEventCreateWithFlags(&n->slots[i].finished, flags), "an event",
                err);
    }
    return good;
}

/* What this rank did itself, or its device; the rest is told of the others. */
static bool is_own(ncclResult_t status) {
    return status == ncclUnhandledCudaError || status == ncclInvalidArgument ||
           status == ncclInvalidUsage;
}

static bool connect_ranks(
        struct nccl *n, struct comm_failure *failure, struct text *err) {
    struct ranks *ranks = &n->base.ranks;
    ncclUniqueId id = {0};
    if (ranks->rank == 0 &&
            !done(n, n->lib->unique_id(&id), "cannot make an id", err)) {
        return false;
    }
    ranks_tell(ranks, &id, sizeof id);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 1;
    if (n->beside && !getenv("NCCL_MAX_CTAS") && !getenv("NCCL_SYM_CTAS")) {
        n->max_ctas = config.maxCTAs = COMM_NCCL_CTAS;
    }
#ifdef NCCL_CTA_POLICY_ZERO
    // Gathers by copy engines take no multiprocessors at all.
    if (!getenv("NCCL_CTA_POLICY") && n->lib->version >= POLICY_VERSION) {
        config.CTAPolicy = NCCL_CTA_POLICY_ZERO;
    }
#endif
    int64_t before = free_bytes();
    ncclResult_t status =
            n->lib->init_rank(&n->handle, ranks->world, id, ranks->rank, &config);
    add_taken(n, before);
    failure->others = status != ncclSuccess && !is_own(status);
    return done(n, status, "cannot connect the ranks", err);
}

static void choose_memory(struct nccl *n) {
    const char *wanted = getenv("LM_NCCL_REGISTER");
    if (wanted && strcmp(wanted, "0") == 0) {
        text_add(&n->unregistered, "LM_NCCL_REGISTER is 0");
    } else if (!n->lib->window_register) {
        text_add(&n->unregistered, "this NCCL has no windows");
    } else {
        n->in_windows = true;
    }
}

/* An error of the network or of a peer's reaches no caller: it must be asked for. */
static bool look(void *user) {
    struct nccl *n = user;
    struct text sentence = {0};
    ncclResult_t state = ncclSuccess;
    ncclResult_t asked = n->lib->async_error(n->handle, &state);
    state = asked == ncclSuccess ? state : asked;
    bool good =
            state == ncclInProgress || done(n, state, "a collective failed", &sentence);
    if (!good) {
        n->failed(n->user, text_get(&sentence));
    }
    text_finish(&sentence);
    return good;
}

static bool start_watchdog(struct nccl *n, struct kernel_error *why, struct text *err) {
    n->watchdog = (struct ticker){.period_ms = POLL_MS,
            .stack_bytes = THREAD_STACK_DRIVER_BYTES,
            .look = look,
            .user = n};
    return !n->failed || ticker_start(&n->watchdog, "communicator", why) ||
           text_fail(err, "%s", why->sentence);
}

static bool start(
        struct comm *c, const struct comm_options *options, struct text *err) {
    struct nccl *n = nccl_of(c);
    n->device = options->device;
    n->kernels = options->kernels;
    n->beside = options->beside;
    n->failed = options->failed;
    n->user = options->user;
    n->lib = comm_nccl_library_open(err);
    if (!n->lib) {
        return false;
    }
    pthread_once(&environment.once, prepare_environment);
    if (!n->beside) {
        // Its own choice suits what is overlapped; alone, only more fill the links.
        setenv("NCCL_SYM_CTAS", COMM_NCCL_CTAS_ALONE, 0);
    }
    choose_memory(n);
    return cuda(cudaSetDevice(n->device), "choosing the device", err) &&
           make_stream(n, err) && connect_ranks(n, options->failure, err) &&
           start_watchdog(n, &options->failure->why, err);
}

/* Nobody is told of failures: the work is done, and there is nothing to be undone. */
static void stop(struct comm *c) {
    struct nccl *n = nccl_of(c);
    ticker_stop(&n->watchdog);
    for (int i = 0; i < n->piece_count; i++) {
        if (n->pieces[i].window) {
            (void)n->lib->window_deregister(n->handle, n->pieces[i].window);
        }
    }
    // Null where the ranks were never connected: a failed start calls NCCL no more.
    if (n->handle) {
        (void)n->lib->destroy(n->handle);
    }
    for (int i = 0; i < n->piece_count; i++) {
        struct piece *p = &n->pieces[i];
        if (n->in_windows) {
            (void)n->lib->mem_free(p->memory);
        } else {
            n->kernels->release(n->device, MEMORY_DEVICE, p->memory, p->bytes);
        }
    }
    for (int i = 0; i < SLOTS; i++) {
        if (n->slots[i].finished) {
            (void)cudaEventDestroy(n->slots[i].finished);
        }
    }
    cudaEvent_t others[] = {n->ready, n->idle};
    for (int i = 0; i < 2; i++) {
        if (others[i]) {
            (void)cudaEventDestroy(others[i]);
        }
    }
    if (n->stream) {
        (void)cudaStreamDestroy(n->stream);
    }
    text_finish(&n->unregistered);
}

/* -- memory --------------------------------------------------------------------------
 */

/* NCCL does not tell a device that is full from other failures. */
static bool take(struct nccl *n, struct piece *p, struct kernel_error *why) {
    if (!n->in_windows) {
        return n->kernels->allocate(
                n->device, MEMORY_DEVICE, p->bytes, &p->memory, why);
    }
    struct text err = {0};
    bool good = done(n, n->lib->mem_alloc(&p->memory, p->bytes), "device memory", &err);
    if (!good) {
        (void)cudaGetLastError(); // not sticky: the next call starts clean
        int64_t unused = free_bytes();
        bool full = unused < (int64_t)p->bytes + (32 << 20); // its pages are large
        kernel_fail(why, full ? KERNEL_OUT_OF_DEVICE_MEMORY : KERNEL_DEVICE_FAULT, "%s",
                text_get(&err));
        why->bytes_asked = p->bytes;
        why->bytes_free = (size_t)unused;
    }
    text_finish(&err);
    return good;
}

/* All ranks come here together. Without a window NCCL still works, only slower. */
static void register_window(struct nccl *n, struct piece *p) {
    struct text err = {0};
    if (!done(n,
                n->lib->window_register(n->handle, p->memory, p->bytes, &p->window,
                        NCCL_WIN_COLL_SYMMETRIC),
                "no window", &err)) {
        p->window = NULL;
    }
    if (!p->window && n->unregistered.size == 0) {
        text_add(&n->unregistered, err.size ? text_get(&err) : "NCCL made no window");
    }
    text_finish(&err);
}

static void *allocate(struct comm *c, size_t bytes, struct kernel_error *why) {
    struct nccl *n = nccl_of(c);
    struct piece *p = &n->pieces[n->piece_count];
    int64_t before = free_bytes();
    *p = (struct piece){.bytes = bytes ? bytes : 1};
    if (!take(n, p, why)) {
        return NULL;
    }
    n->piece_count++;
    if (n->in_windows) {
        register_window(n, p);
    }
    add_taken(n, before);
    n->device_bytes -= (int64_t)bytes;
    bool zeroed =
            cuda_done(cudaMemsetAsync(p->memory, 0, p->bytes, n->stream),
                    "zeroing shared memory", why) &&
            cuda_done(cudaStreamSynchronize(n->stream), "zeroing shared memory", why);
    return zeroed ? p->memory : NULL;
}

/* -- operations ----------------------------------------------------------------------
 */

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
    return cuda(asked, "asking for a capture", err);
}

static ncclResult_t call(struct nccl *n, const struct operation *o) {
    static const ncclDataType_t types[] = {[DTYPE_F32] = ncclFloat32,
            [DTYPE_BF16] = ncclBfloat16,
            [DTYPE_F16] = ncclFloat16,
            [DTYPE_F64] = ncclFloat64};
    switch (o->act) {
    case ALL_REDUCE:
        return n->lib->all_reduce(o->from, o->to, o->count, types[o->type], ncclSum,
                n->handle, n->stream);
    case REDUCE_SCATTER:
        return n->lib->reduce_scatter(o->from, o->to, o->count, types[o->type], ncclSum,
                n->handle, n->stream);
    default:
        return n->lib->all_gather(o->from, o->to, o->count * dtype_size(o->type),
                ncclUint8, n->handle, n->stream);
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
    int64_t before = known ? 0 : free_bytes();
    ncclResult_t status = call(n, o);
    if (!known) {
        add_taken(n, before);
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

static bool queue(struct comm *c, struct stream *stream, const struct operation *o,
        struct text *err) {
    struct nccl *n = nccl_of(c);
    if (!check_place(o, err)) {
        return false;
    }
    struct slot *slot = &n->slots[n->asked % SLOTS];
    if (!find_capture(stream->handle, &slot->capture, err) ||
            !cuda(cudaEventRecord(n->ready, stream->handle), "marking a stream", err) ||
            !cuda(cudaStreamWaitEvent(n->stream, n->ready, 0), "awaiting a stream",
                    err)) {
        return false;
    }
    if (o->count > 0 && !done(n, call_measured(n, o, slot->capture != 0),
                                "cannot queue a collective", err)) {
        return false;
    }
    if (!cuda(cudaEventRecord(slot->finished, n->stream), "marking a collective",
                err)) {
        return false;
    }
    n->asked++;
    count_bytes(n, o, slot->capture);
    return true;
}

static bool all_reduce(struct comm *c, struct stream *stream, void *data, int64_t count,
        enum dtype type, struct text *err) {
    struct operation o = {ALL_REDUCE, data, data, (size_t)count, type};
    return queue(c, stream, &o, err);
}

static bool reduce_scatter(struct comm *c, struct stream *stream, void *data,
        int64_t count, enum dtype type, struct text *err) {
    size_t shard = (size_t)count * dtype_size(type);
    void *own = (char *)data + (size_t)c->ranks.rank * shard;
    struct operation o = {REDUCE_SCATTER, data, own, (size_t)count, type};
    return queue(c, stream, &o, err);
}

static bool all_gather(struct comm *c, struct stream *stream, const void *from,
        void *data, int64_t count, enum dtype type, struct text *err) {
    struct operation o = {ALL_GATHER, from, data, (size_t)count, type};
    return queue(c, stream, &o, err);
}

static bool wait_for(
        struct comm *c, struct stream *stream, int pending, struct text *err) {
    struct nccl *n = nccl_of(c);
    if (n->asked <= (uint64_t)pending) {
        return true;
    }
    // Older ones have no mark any more; waiting for a later one is waiting for them.
    uint64_t left = pending < SLOTS ? (uint64_t)pending : SLOTS - 1;
    const struct slot *slot = &n->slots[(n->asked - left - 1) % SLOTS];
    unsigned long long capture;
    if (!find_capture(stream->handle, &capture, err)) {
        return false;
    }
    // What was captured is over where its graph is, and what was queued before a graph
    // is over before that: comm_replay() saw to it.
    return slot->capture != capture ||
           cuda(cudaStreamWaitEvent(stream->handle, slot->finished, 0),
                   "awaiting a collective", err);
}

static bool replay(struct comm *c, struct stream *stream, struct text *err) {
    struct nccl *n = nccl_of(c);
    atomic_fetch_add(&c->bytes_moved, n->captured_bytes);
    return cuda(cudaEventRecord(n->idle, n->stream), "marking NCCL's stream", err) &&
           cuda(cudaStreamWaitEvent(stream->handle, n->idle, 0),
                   "awaiting NCCL's stream", err);
}

/* -- facts ---------------------------------------------------------------------------
 */

static void set_text(json_t *fields, const char *name, const struct text *value) {
    if (value->size > 0) {
        json_object_set_new(fields, name, json_string(text_get(value)));
    }
}

static void facts(struct comm *c, json_t *fields) {
    struct nccl *n = nccl_of(c);
    struct text words = {0};
    int v = n->lib->version;
    text_addf(&words, "%d.%d.%d", v / 10000, v / 100 % 100, v % 100);
    set_text(fields, "nccl_version", &words);
    text_clear(&words);
    text_addf(&words, "%s%s", n->unregistered.size ? "no: " : "yes",
            n->unregistered.size ? text_get(&n->unregistered) : "");
    set_text(fields, "nccl_registered", &words);
    text_clear(&words);
    if (n->max_ctas) {
        json_object_set_new(fields, "nccl_max_ctas", json_integer(n->max_ctas));
    }
    if (comm_nccl_log_read(&words)) {
        set_text(fields, "nccl_path", &words);
    }
    set_text(fields, "nccl_environment", &environment.given);
    text_finish(&words);
}

static void settle(struct comm *c) {
    (void)c;
    comm_nccl_log_close();
}

static int64_t device_bytes(const struct comm *c) {
    return ((const struct nccl *)c)->device_bytes;
}

const struct comm_backend comm_nccl_backend = {
        .name = "NCCL",
        .state_bytes = sizeof(struct nccl),
        .available = available,
        .start = start,
        .stop = stop,
        .allocate = allocate,
        .all_reduce = all_reduce,
        .reduce_scatter = reduce_scatter,
        .all_gather = all_gather,
        .wait = wait_for,
        .replay = replay,
        .facts = facts,
        .settle = settle,
        .device_bytes = device_bytes,
};
