/*
 * What cells compete for on this machine: `--jobs` places, and GPUs. On the CPU one
 * place means the whole machine, so that a timing has it to itself unless the user
 * allows more. GPUs are handed out in disjoint sets.
 */
#ifndef RUNNER_POOL_H
#define RUNNER_POOL_H

#include <stdbool.h>

#include "matrix/text.h"

struct pool {
    int places, taken;
    int *gpus; /* their numbers, ascending as given; owned */
    bool *busy;
    int gpu_count;
};

/* What one cell holds. */
struct pool_lease {
    bool held;
    int *gpus; /* owned; numbers as in the pool */
    int gpu_count;
};

/*
 * `devices`: the words of --devices ("0,1" or "0" "1"), or NULL for all that this
 * machine has. False where a word is no number, twice there, or no GPU of this machine.
 */
bool pool_init(struct pool *p, int places, const char *const *devices, int present,
        struct text *err);
void pool_finish(struct pool *p);

/*
 * False where that much is not free now; `lease` is then empty. `first`: only the
 * pool's GPUs from that one on will do, so that cells of a series, whatever their
 * number of ranks, share their devices; −1: any.
 */
bool pool_take(struct pool *p, int gpus, int first, struct pool_lease *lease);
void pool_give_back(struct pool *p, struct pool_lease *lease);

/* "0,2" for CUDA_VISIBLE_DEVICES. */
void pool_show(const struct pool_lease *lease, struct text *out);

#endif
