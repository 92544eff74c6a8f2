/*
 * Where the engine's bytes lie. The planner walks a program's ops, gives every tensor
 * an offset in its owner's arena so that tensors alive at once never overlap, and so
 * knows the arenas' sizes before anything is allocated. Then each arena is allocated
 * once, to its planned end; on the CPU an inaccessible page follows, but where ranks
 * share it.
 *
 * Poison: arenas, and then a guard page of our own behind each, are filled with a byte
 * that no finite number ends in before anything runs; the last byte that differs
 * afterwards is the high-water mark. A mark past the plan means that something wrote
 * into the guard page. That works on any device.
 */
#ifndef WORKER_MEMORY_H
#define WORKER_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/text.h"
#include "worker/values.h"

struct comm;
struct program;

enum memory_owner {
    OWNER_PARAMS,
    OWNER_GRADS,
    OWNER_OPTIMIZER, /* master weights and moments */
    OWNER_ACTIVATIONS,
    OWNER_SCRATCH, /* task allreduce's array; that of ops lies with activations */
    OWNER_LIBRARY, /* batch staging, control block, handles: all else we ask for */
    OWNER_COUNT
};

#define MEMORY_ALIGN 256    /* bytes: every planned tensor starts on such an offset */
#define MEMORY_GUARD 4096   /* bytes after each poisoned arena's planned end */
#define MEMORY_POISON 0xff  /* as a float's highest byte: a NaN or beyond 1e38 */
#define MEMORY_RED_ZONE 256 /* bytes after each planned tensor, where asked for */

const char *memory_owner_name(enum memory_owner owner); /* "params", … */

struct memory_plan {
    int64_t bytes[OWNER_COUNT]; /* the end of each owner's last tensor */
    int64_t forward_bytes;      /* in use at the end of forward … */
    int64_t backward_bytes;     /* … and at backward's largest; 0 without backward */
};

/*
 * Choose offsets for every tensor of `p` that was declared without one, and add up.
 * `red_zone` bytes are kept free after each of them (0: none). Same program, same plan.
 */
void memory_plan(struct program *p, int64_t red_zone, struct memory_plan *out);

struct memory {
    struct device_access access;
    void *arenas[OWNER_COUNT];
    int64_t planned[OWNER_COUNT];
    bool borrowed[OWNER_COUNT]; /* from the communicator, not ours to free */
    bool poisoned;
};

/*
 * Allocate the arenas; those `shared` come from `comm`.
 * Contents are undefined, or poison where `poison`. On failure nothing is held and
 * `why` tells refused memory from other faults. The caller owes memory_finish().
 */
bool memory_init(struct memory *m, const struct device_access *access,
        const int64_t planned[OWNER_COUNT], const bool shared[OWNER_COUNT],
        struct comm *comm, bool poison, struct kernel_error *why, struct text *err);
void memory_finish(struct memory *m); /* zeroed is fine */

/* Point every tensor of `p` at its bytes. */
void memory_bind(const struct memory *m, struct program *p);

/* What memory_init() asks for an arena with this planned end. */
size_t memory_arena_bytes(int64_t planned, bool poison);

/* High-water marks by owner; −1 where the arena was not poisoned. Synchronises. */
bool memory_measure(
        const struct memory *m, int64_t measured[OWNER_COUNT], struct text *err);

#endif
