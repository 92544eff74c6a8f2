/*
 * What the halves of NCCL's back end share: comm_nccl.c starts and stops it and gives
 * memory, comm_nccl_operations.c queues what ranks do together.
 */
#ifndef WORKER_COMM_NCCL_STATE_H
#define WORKER_COMM_NCCL_STATE_H

#include "kernels/cuda/cuda.h"
#include "worker/comm_backend.h"
#include "worker/comm_nccl_library.h"
#include "worker/ticker.h"

enum { NCCL_SLOTS = 256 /* operations told apart by comm_wait() */ };

enum nccl_act { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, ACT_COUNT };

/* Marks the end of an operation. An event recorded while a graph was captured means
 * nothing outside that capture, and the other way round. */
struct nccl_slot {
    cudaEvent_t finished;
    unsigned long long capture; /* 0: none */
};

struct nccl_piece {
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
    struct nccl_slot slots[NCCL_SLOTS];
    uint64_t asked;        /* operations ever queued */
    enum comm_share share; /* this and what follows as in struct comm_options */
    bool captured;
    int max_ctas; /* 0: the environment's */
    bool in_windows;
    struct text unregistered; /* why memory is in no window; empty: it is */
    struct nccl_piece pieces[COMM_PIECES_MAX];
    int piece_count;
    unsigned long long capture; /* that of the last operation captured … */
    long long captured_bytes;   /* … and what its graph moves */
    uint64_t sizes[ACT_COUNT];  /* bit k: one of 2^k bytes has been queued */
    int64_t device_bytes;       /* taken by NCCL */

    void (*failed)(void *user, const char *sentence);
    void *user;
    struct ticker watchdog;
};

/* False with a sentence where CUDA, or NCCL, says that `what` went wrong. */
bool comm_nccl_cuda(cudaError_t status, const char *what, struct text *err);
bool comm_nccl_done(
        const struct nccl *n, ncclResult_t status, const char *what, struct text *err);

/* Of the device; NCCL took what is gone since there were `before`. Nothing else
 * allocates meanwhile. */
int64_t comm_nccl_free_bytes(void);
void comm_nccl_add_taken(struct nccl *n, int64_t before);

/* As worker/comm_backend.h asks for them. */
bool comm_nccl_all_reduce(struct comm *c, struct stream *stream, void *data,
        int64_t count, enum dtype type, struct text *err);
bool comm_nccl_reduce_scatter(struct comm *c, struct stream *stream, void *data,
        int64_t count, enum dtype type, struct text *err);
bool comm_nccl_all_gather(struct comm *c, struct stream *stream, const void *from,
        void *data, int64_t count, enum dtype type, struct text *err);
bool comm_nccl_wait(
        struct comm *c, struct stream *stream, int pending, struct text *err);
bool comm_nccl_replay(struct comm *c, struct stream *stream, struct text *err);

#endif
