/*
 * The ranks of a cell as threads of one process: for tests that hold several against
 * one, on whatever device.
 */
#ifndef TESTS_HELPERS_GROUP_H
#define TESTS_HELPERS_GROUP_H

#include <stdint.h>

#include "tests/helpers/cell.h"
#include "worker/comm.h"

enum { GROUP_STEPS = 20, GROUP_WORLD = 8 };

/* Where ranks run and how they meet. */
struct group_place {
    const struct kernels *kernels;
    const struct comm_backend *backend; /* NULL: shared memory */
    bool own_devices;                   /* rank r on device r */
};

struct group {
    const struct group_place *place;
    const char *words;
    int world, steps;
    void *base;
    size_t base_bytes;
    double losses[GROUP_WORLD][GROUP_STEPS]; /* each rank's own mean */
    double *gradients;            /* rank 0's after the first step, all parameters */
    double *weights[GROUP_WORLD]; /* each rank's after the last step, likewise */
    int64_t elements;
};

/*
 * Run `world` ranks of a cell for `steps` ≤ GROUP_STEPS. Fails the test where their
 * parameters are not equal to the bit afterwards. The caller owes group_finish().
 */
void group_run(struct group *g, const struct group_place *place, int world, int steps,
        const char *words);
void group_finish(struct group *g);

double group_loss(const struct group *g, int step); /* mean over ranks */

/* Losses of every step and rank, and the first gradients, to the bit. */
void group_must_equal(const struct group *a, const struct group *b);

/* What rounding may change: ‖a − b‖ ÷ ‖b‖ of the first gradients, and losses. */
struct group_bounds {
    double gradients, losses;
};

/* `words` on `world` ranks trains what `joined` does on one, its batch being theirs
 * together. */
void group_must_equal_one(const struct group_place *place, int world, const char *words,
        const char *joined, struct group_bounds bounds);

#endif
