/*
 * A communicator: the ranks of one cell, able to add up arrays and wait for each other.
 * Two back ends behind one interface: shared memory on one host (comm_shm.c) and, with
 * CUDA, NCCL (comm_nccl.c).
 *
 * Shared memory works in place and takes no memory of its own beyond a header page:
 * what takes part in a reduction lies in memory from comm_allocate(), which every rank
 * maps, and rank r sums slice r over all ranks in rank order, then writes it to all. So
 * the result's bits depend on neither timing, bucket size nor which rank asks.
 */
#ifndef WORKER_COMM_H
#define WORKER_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/text.h"

#define COMM_WORLD_MAX 64

struct comm;

struct comm_options {
    int rank, world;
    int shm_fd; /* the supervisor's memfd, zeroed or empty; −1 where world is 1. Not
                   kept: the caller may close it once comm_create() returned */
    void *base; /* tests with ranks as threads: zeroed memory all share; else NULL */
    size_t base_bytes; /* at least comm_shared_bytes() */
    size_t bytes;      /* what comm_allocate() will be asked for in all, every rank the
                          same */
    int64_t deadline_ms; /* how long to wait for the others to appear */
    const struct kernels *kernels;
    /* Optional: called on the caller's thread, once in a call that waits for other
     * ranks, after a second. So a rank that waits can say so, and the one that is
     * waited for is the one longest silent. */
    void (*waiting)(void *user);
    void *user;
};

/* Bytes that `world` ranks share, each asking comm_allocate() for `bytes` in all. */
size_t comm_shared_bytes(int world, size_t bytes);

/*
 * Meet the other ranks. Fails past the deadline, naming the ranks that are missing, and
 * where the ranks disagree about world or bytes. A rank that dies later is not noticed
 * here: the others sleep, without using the CPU, until their supervisor ends them. So
 * on an error a worker exits; it never tears a communicator down.
 */
bool comm_create(
        const struct comm_options *options, struct comm **out, struct text *err);

/* After comm_wait(), on a rank that is done; NULL is fine. */
void comm_destroy(struct comm *c);

/* Zeroed memory that can take part in reductions, aligned to 64 bytes; all ranks ask
 * for the same sizes in the same order, in at most 64 pieces. Lives as long as `c`;
 * NULL where it would exceed what comm_create() was told. */
void *comm_allocate(struct comm *c, size_t bytes);

/*
 * Queue: once `stream` has reached this point, sum elements [from, to) of `t` (memory
 * from comm_allocate) over all ranks, in place, on the communicator's own thread or
 * stream. Every rank queues the same ranges in the same order. The range is cut into
 * one slice per rank. F32, BF16 and F16 are added up in fp32, F64 in fp64, and rounded
 * once, to nearest even.
 */
bool comm_all_reduce(struct comm *c, struct stream *stream, struct tensor *t,
        int64_t from, int64_t to, struct text *err);

/* `stream` waits until all that was queued has finished. */
bool comm_wait(struct comm *c, struct stream *stream, struct text *err);

/* Host values, summed over ranks in rank order; blocks. For losses and evaluation.
 * Independent of what comm_all_reduce() has queued. */
bool comm_sum_host(struct comm *c, double *values, int count, struct text *err);

bool comm_barrier(struct comm *c, struct text *err);

int64_t comm_bytes_moved(const struct comm *c); /* by this rank, since creation */

#endif
