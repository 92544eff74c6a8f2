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

struct comm;

struct comm_options {
    int rank, world;
    int shm_fd; /* the supervisor's memfd, −1 where world is 1 */
    void *base; /* tests with ranks as threads: memory all share; else NULL */
    size_t base_bytes;
    size_t bytes; /* what comm_allocate() will be asked for in all, every rank the
                     same */
    int64_t deadline_ms; /* how long to wait for the others to appear */
    const struct kernels *kernels;
};

/* Meet the other ranks. Fails past the deadline, naming the ranks that are missing. */
bool comm_create(
        const struct comm_options *options, struct comm **out, struct text *err);
void comm_destroy(struct comm *c); /* NULL is fine */

/* Zeroed memory that can take part in reductions; all ranks ask for the same sizes in
 * the same order. Lives as long as `c`. */
void *comm_allocate(struct comm *c, size_t bytes);

/*
 * Queue: once `stream` has reached this point, sum elements [from, to) of `t` (memory
 * from comm_allocate) over all ranks, in place, on the communicator's own thread or
 * stream. Every rank queues the same ranges in the same order. The range is cut into
 * one slice per rank.
 */
bool comm_all_reduce(struct comm *c, struct stream *stream, struct tensor *t,
        int64_t from, int64_t to, struct text *err);

/* `stream` waits until all that was queued has finished. */
bool comm_wait(struct comm *c, struct stream *stream, struct text *err);

/* Host values, summed over ranks in rank order; blocks. For losses and evaluation. */
bool comm_sum_host(struct comm *c, double *values, int count, struct text *err);

bool comm_barrier(struct comm *c, struct text *err);

int64_t comm_bytes_moved(const struct comm *c); /* by this rank, since creation */

#endif
