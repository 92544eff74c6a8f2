#include "worker/comm_nccl.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/comm_nccl_log.h"
#include "worker/comm_nccl_state.h"
#include "worker/thread.h"

#define POLL_MS 100 // between questions for an error that nobody waits for

#ifndef NCCL_WIN_COLL_SYMMETRIC
#define NCCL_WIN_COLL_SYMMETRIC 1 // in headers from 2.27
#endif

#define POLICY_VERSION 22800 // from which copy engines gather

static_assert(sizeof(ncclUniqueId) <= RANKS_MESSAGE_MAX, "an id is one message");

bool comm_nccl_cuda(cudaError_t status, const char *what, struct text *err) {
    struct kernel_error why = {0};
    return cuda_done(status, what, &why) || text_fail(err, "%s", why.sentence);
}

bool comm_nccl_done(
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

int64_t comm_nccl_free_bytes(void) {
    size_t unused = 0, total;
    return cudaMemGetInfo(&unused, &total) == cudaSuccess ? (int64_t)unused : 0;
}

void comm_nccl_add_taken(struct nccl *n, int64_t before) {
    n->device_bytes += before - comm_nccl_free_bytes();
}

/* -- start and stop ------------------------------------------------------------------
 */

static bool make_stream(struct nccl *n, struct text *err) {
    // Of the step's own priority: above it, sums take multiprocessors from products in
    // flight, and lose more of the step than they gain.
    if (!comm_nccl_cuda(cudaStreamCreateWithFlags(&n->stream, cudaStreamNonBlocking),
                "creating NCCL's stream", err)) {
        return false;
    }
    unsigned flags = cudaEventDisableTiming;
    bool good =
            comm_nccl_cuda(
                    cudaEventCreateWithFlags(&n->ready, flags), "an event", err) &&
            comm_nccl_cuda(cudaEventCreateWithFlags(&n->idle, flags), "an event", err);
    for (int i = 0; good && i < NCCL_SLOTS; i++) {
        good = comm_nccl_cuda(cudaEventCreateWithFlags(&n->slots[i].finished, flags),
                "an event", err);
    }
    return good;
}

/* What this rank did itself, or its device; the rest is told of the others. */
static bool is_own(ncclResult_t status) {
    return status == ncclUnhandledCudaError || status == ncclInvalidArgument ||
           status == ncclInvalidUsage;
}

static bool gathers_by_copies(const struct nccl *n) {
#ifdef NCCL_CTA_POLICY_ZERO
    return !getenv("NCCL_CTA_POLICY") && n->lib->version >= POLICY_VERSION;
#else
    (void)n;
    return false;
#endif
}

/* Of the GPU's multiprocessors, for an operation beside the caller's work. */
static int most_ctas(const struct nccl *n) {
    int world = n->base.ranks.world;
    bool least = n->share == COMM_SHARE_LEAST && n->in_windows && gathers_by_copies(n);
    return least ? COMM_NCCL_CTAS * (world - 1) / world : COMM_NCCL_CTAS;
}

static bool connect_ranks(
        struct nccl *n, struct comm_failure *failure, struct text *err) {
    struct ranks *ranks = &n->base.ranks;
    ncclUniqueId id = {0};
    if (ranks->rank == 0 &&
            !comm_nccl_done(n, n->lib->unique_id(&id), "cannot make an id", err)) {
        return false;
    }
    ranks_tell(ranks, &id, sizeof id);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 1;
    bool silent = !getenv("NCCL_MAX_CTAS") && !getenv("NCCL_SYM_CTAS");
    if (silent && n->share != COMM_SHARE_ALL) {
        n->max_ctas = config.maxCTAs = most_ctas(n);
    }
#ifdef NCCL_CTA_POLICY_ZERO
    // Gathers by copy engines take no multiprocessors at all.
    if (gathers_by_copies(n)) {
        config.CTAPolicy = NCCL_CTA_POLICY_ZERO;
    }
#endif
    int64_t before = comm_nccl_free_bytes();
    ncclResult_t status =
            n->lib->init_rank(&n->handle, ranks->world, id, ranks->rank, &config);
    comm_nccl_add_taken(n, before);
    failure->others = status != ncclSuccess && !is_own(status);
    return comm_nccl_done(n, status, "cannot connect the ranks", err);
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
    bool good = state == ncclInProgress ||
                comm_nccl_done(n, state, "a collective failed", &sentence);
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
    struct nccl *n = (struct nccl *)c;
    n->device = options->device;
    n->kernels = options->kernels;
    n->share = options->share;
    n->captured = options->captured;
    n->failed = options->failed;
    n->user = options->user;
    n->lib = comm_nccl_library_open(err);
    if (!n->lib) {
        return false;
    }
    pthread_once(&environment.once, prepare_environment);
    if (n->share == COMM_SHARE_ALL) {
        // Its own choice suits what is overlapped; alone, only more fill the links.
        setenv("NCCL_SYM_CTAS", COMM_NCCL_CTAS_ALONE, 0);
    }
    choose_memory(n);
    return comm_nccl_cuda(cudaSetDevice(n->device), "choosing the device", err) &&
           make_stream(n, err) && connect_ranks(n, options->failure, err) &&
           start_watchdog(n, &options->failure->why, err);
}

/* Nobody is told of failures: the work is done, and there is nothing to be undone. */
static void stop(struct comm *c) {
    struct nccl *n = (struct nccl *)c;
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
        struct nccl_piece *p = &n->pieces[i];
        if (n->in_windows) {
            (void)n->lib->mem_free(p->memory);
        } else {
            n->kernels->release(n->device, MEMORY_DEVICE, p->memory, p->bytes);
        }
    }
    for (int i = 0; i < NCCL_SLOTS; i++) {
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
static bool take(struct nccl *n, struct nccl_piece *p, struct kernel_error *why) {
    if (!n->in_windows) {
        return n->kernels->allocate(
                n->device, MEMORY_DEVICE, p->bytes, &p->memory, why);
    }
    struct text err = {0};
    bool good = comm_nccl_done(
            n, n->lib->mem_alloc(&p->memory, p->bytes), "device memory", &err);
    if (!good) {
        (void)cudaGetLastError(); // not sticky: the next call starts clean
        int64_t unused = comm_nccl_free_bytes();
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
static void register_window(struct nccl *n, struct nccl_piece *p) {
    struct text err = {0};
    if (!comm_nccl_done(n,
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
    struct nccl *n = (struct nccl *)c;
    struct nccl_piece *p = &n->pieces[n->piece_count];
    int64_t before = comm_nccl_free_bytes();
    *p = (struct nccl_piece){.bytes = bytes ? bytes : 1};
    if (!take(n, p, why)) {
        return NULL;
    }
    n->piece_count++;
    if (n->in_windows) {
        register_window(n, p);
    }
    comm_nccl_add_taken(n, before);
    n->device_bytes -= (int64_t)bytes;
    bool zeroed =
            cuda_done(cudaMemsetAsync(p->memory, 0, p->bytes, n->stream),
                    "zeroing shared memory", why) &&
            cuda_done(cudaStreamSynchronize(n->stream), "zeroing shared memory", why);
    return zeroed ? p->memory : NULL;
}

/* -- facts ---------------------------------------------------------------------------
 */

static void set_text(json_t *fields, const char *name, const struct text *value) {
    if (value->size > 0) {
        json_object_set_new(fields, name, json_string(text_get(value)));
    }
}

static void facts(struct comm *c, json_t *fields) {
    struct nccl *n = (struct nccl *)c;
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
        .all_reduce = comm_nccl_all_reduce,
        .reduce_scatter = comm_nccl_reduce_scatter,
        .all_gather = comm_nccl_all_gather,
        .wait = comm_nccl_wait,
        .replay = comm_nccl_replay,
        .facts = facts,
        .settle = settle,
        .device_bytes = device_bytes,
};
