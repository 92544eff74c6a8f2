/*
 * A communicator: the ranks of one cell, able to add up arrays, hand them round and
 * wait for each other. Back ends behind one interface: shared memory on one host
 * (comm_shm.c) and, with CUDA, NCCL (comm_nccl.c). worker/comm_backend.h is what a back
 * end implements.
 *
 * What takes part lies in memory from comm_allocate(). Operations are queued: they run
 * in their order on the communicator's own thread or stream, beside what the caller's
 * stream does, until comm_wait(). Every rank queues the same operations in the same
 * order.
 *
 * Shared memory works in place and takes no memory of its own beyond some pages: every
 * rank maps all ranks' memory, and sums are taken in rank order. So the result's bits
 * depend on neither timing, bucket size nor which rank asks.
 */
#ifndef WORKER_COMM_H
#define WORKER_COMM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/text.h"

#define COMM_WORLD_MAX 64
#define COMM_PIECES_MAX 64 /* of memory */

struct comm;
struct comm_backend;

extern const struct comm_backend comm_shm_backend;

/* Why comm_create() failed, beside the sentence. */
struct comm_failure {
    struct kernel_error why; /* KERNEL_OK: no kind that is told apart */
    bool others; /* they are missing, dead or of another mind: it is not this rank's */
};

/* How much of a device operations may take. */
enum comm_share {
    COMM_SHARE_ALL,  /* what they need to be fast: the caller waits for them */
    COMM_SHARE_FEW,  /* a few multiprocessors: the caller's work runs beside them */
    COMM_SHARE_LEAST /* fewer still: likewise, and they scatter, gather, or are small */
};

struct comm_options {
    const struct comm_backend *backend; /* NULL: shared memory */
    int rank, world;
    int device; /* of this rank, as the stream's */
    int shm_fd; /* the supervisor's memfd, zeroed or empty; −1 where world is 1. Not
                   kept: the caller may close it once comm_create() returned. Files
                   that have a name are refused: they would be overwritten */
    void *base; /* tests with ranks as threads: zeroed memory all share; else NULL */
    size_t base_bytes; /* at least comm_shared_bytes() */
    size_t bytes;      /* what comm_allocate() will be asked for in all, every rank the
                          same */
    const char *nonce; /* of the attempt, the same for all its ranks; NULL: none */
    enum comm_share share; /* every rank the same, which is not checked */
    bool captured; /* the caller's steps are graphs: what is queued outside of them, a
                      first step and evaluations, need not run beside anything */
    int64_t deadline_ms; /* how long to wait for the others to appear */
    const struct kernels *kernels;
    /* Optional: one of them is called on the caller's thread, once a second in a call
     * that blocks. `waiting`: nothing happened in that second, and it is for another
     * rank to go on. `moving`: queued operations have ended in it, or this rank's part
     * of one is under way. So the one that is waited for is the one longest silent, and
     * where all say that they wait, they wait for each other. A call that returns
     * sooner calls neither: the caller's own progress is for the caller to tell. */
    void (*waiting)(void *user);
    void (*moving)(void *user);
    /* Optional: called once, on a thread of the communicator, where what was queued can
     * never finish. Whoever is called records the sentence and ends the process. */
    void (*failed)(void *user, const char *sentence);
    void *user;
    struct comm_failure *failure; /* optional; zeroed, set where comm_create() fails */
};

/* Whether the back end can work here at all; the sentence says what is missing. */
bool comm_available(const struct comm_backend *backend, struct text *err);

/* Bytes that `world` ranks share on the host, each asking comm_allocate() for `bytes`
 * in all. */
size_t comm_shared_bytes(const struct comm_backend *backend, int world, size_t bytes);

/*
 * Meet the other ranks. Fails past the deadline, naming the ranks that are missing, and
 * where the ranks disagree about back end, nonce, world or bytes. A rank that dies
 * later is not noticed here: the others sleep, without using the CPU, until their
 * supervisor ends them. So on an error a worker exits; it never tears a communicator
 * down.
 */
bool comm_create(
        const struct comm_options *options, struct comm **out, struct text *err);

/* After comm_wait() for all, on a rank that is done; NULL is fine. */
void comm_destroy(struct comm *c);

/*
 * Zeroed memory that can take part, on the device, aligned to 64 bytes (256 on a GPU);
 * all ranks ask for the same sizes in the same order, in at most COMM_PIECES_MAX
 * pieces. Lives as long as `c`. NULL where it would exceed what comm_create() was told,
 * or the device has no more; `why` says which.
 */
void *comm_allocate(struct comm *c, size_t bytes, struct kernel_error *why);

/*
 * Queue: once `stream` has reached this point, sum elements [from, to) of `t` over all
 * ranks, in place. F32, BF16, F16 and F64. Shared memory adds up in fp32 (F64 in fp64)
 * and rounds once, to nearest even. On a GPU this and what follows begins and ends at
 * multiples of 16 bytes.
 */
bool comm_all_reduce(struct comm *c, struct stream *stream, struct tensor *t,
        int64_t from, int64_t to, struct text *err);

/*
 * As comm_all_reduce(), but each rank gets a part: [from, to), whose length is a
 * multiple of `world`, is cut into `world` shards of one length; rank r's holds the sum
 * on rank r, and what the others hold there is undefined. Through shared memory the
 * bits are those of comm_all_reduce().
 */
bool comm_reduce_scatter(struct comm *c, struct stream *stream, struct tensor *t,
        int64_t from, int64_t to, struct text *err);

/*
 * Queue the way back: elements [first, last) of `to`, of any type, are cut likewise,
 * and everyone's [first, last) becomes rank 0's shard, then rank 1's, … Rank r's shard
 * is what lies there already where `from` is NULL, else all of `from`: elements of the
 * same type in any memory of the device, not to be changed before the wait.
 */
bool comm_all_gather(struct comm *c, struct stream *stream, const struct tensor *from,
        struct tensor *to, int64_t first, int64_t last, struct text *err);

/* `stream` waits until at most the last `pending` operations queued may be unfinished;
 * 0: all have finished. */
bool comm_wait(struct comm *c, struct stream *stream, int pending, struct text *err);

/*
 * A graph that was captured with operations in it is about to be launched on `stream`;
 * call before each launch. A capture must begin and end where nothing is pending, that
 * is after comm_wait() for 0.
 */
bool comm_replay(struct comm *c, struct stream *stream, struct text *err);

/* Host values, summed over ranks in rank order; blocks. For losses and evaluation.
 * Independent of what was queued. */
bool comm_sum_host(struct comm *c, double *values, int count, struct text *err);

bool comm_barrier(struct comm *c, struct text *err);

int64_t comm_bytes_moved(const struct comm *c); /* by this rank, since creation */

/* Bytes of the device's memory that the back end took so far, beyond what
 * comm_allocate() was asked for; −1: it takes none. */
int64_t comm_device_bytes(const struct comm *c);

/*
 * What the record should say: `comm` (the back end); with NCCL also `nccl_version`,
 * `nccl_registered` ("yes", or "no: " and why), `nccl_max_ctas` (absent where the
 * environment sets it), `nccl_environment` (the NCCL_* it came with) and, on rank 0,
 * `nccl_path`: the way that the largest operation of each kind took since this was last
 * asked, by NCCL's own log. After comm_settle() no way is told, and the log costs
 * nothing.
 */
void comm_facts(struct comm *c, json_t *fields);
void comm_settle(struct comm *c);

/*
 * How far the ranks have come, for who must say which one is late: this rank is about
 * to queue step `step`, counted from 0; and the lowest rank that has announced less
 * than this one, −1: none. From any thread; never waits.
 */
void comm_announce(struct comm *c, int64_t step);
int comm_behind(const struct comm *c);

#endif
