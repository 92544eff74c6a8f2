/*
 * The ranks of one cell on one host, as processes that share a page: who is here, what
 * they add up or tell each other on the host, and how far each has come. Both back ends
 * of a communicator stand on it. The memory is the supervisor's memfd (worker/comm.h
 * says what the options mean); behind its first pages a back end may have its own.
 */
#ifndef WORKER_RANKS_H
#define WORKER_RANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "matrix/text.h"
#include "worker/comm.h"

#define RANKS_MESSAGE_MAX 256

struct ranks_header;

struct ranks {
    int rank, world;
    struct ranks_header *header;
    void *behind;  /* what a back end shares */
    void *mapping; /* NULL where the memory is the caller's */
    size_t mapping_bytes;
    unsigned meetings; /* held so far */
    void (*waiting)(void *user);
    void *user;
};

/* Bytes that all ranks share where a back end asks for `behind` of its own. */
size_t ranks_shared_bytes(size_t behind);

/*
 * Take this rank's seat and wait for the others to take theirs. Fails past the
 * deadline, naming the ranks that are missing, and where the ranks disagree about back
 * end, nonce, world or bytes; options->failure, not NULL, says more. Even on failure
 * the caller owes ranks_finish().
 */
bool ranks_join(struct ranks *r, const struct comm_options *options,
        const char *backend, size_t behind, struct text *err);
void ranks_finish(struct ranks *r); /* zeroed is fine */

/* Each value becomes its sum over all ranks, added in their order. */
void ranks_sum(struct ranks *r, double *values, int count);

/* Everyone gets rank 0's `bytes` (at most RANKS_MESSAGE_MAX) of `message`. */
void ranks_tell(struct ranks *r, void *message, size_t bytes);

/* As meeting_await() without a deadline, telling each second that this rank waits. */
struct meeting;
void ranks_await(struct ranks *r, struct meeting *m, unsigned until);

/* As comm_announce() and comm_behind(). */
void ranks_announce(struct ranks *r, int64_t step);
int ranks_behind(const struct ranks *r);

#endif
