/*
 * How a cell's supervisor is started and followed. One launcher so far: `local`, a
 * child of the runner on this machine; a cluster's scheduler is one more entry of this
 * shape.
 */
#ifndef RUNNER_LAUNCH_H
#define RUNNER_LAUNCH_H

#include <stdbool.h>

#include "matrix/text.h"
#include "runner/child.h"

/* One supervisor under way. */
struct launch {
    struct child child;
    int log_fd; /* what it says on stderr; a memfd */
};

struct launcher {
    const char *name;

    /*
     * Start the supervisor of the claimed attempt in `folder`; `gpus` is the value of
     * CUDA_VISIBLE_DEVICES, NULL where it is to be left alone. On success `l` owes
     * collect(); on failure nothing runs.
     */
    bool (*start)(
            struct launch *l, const char *folder, const char *gpus, struct text *err);

    /* A descriptor that polls readable once the supervisor has ended. */
    int (*descriptor)(const struct launch *l);

    /* Ask it to end its ranks: with grace the first time, at once the second. */
    void (*cancel)(struct launch *l);

    /*
     * Take the end of a supervisor. True where it ended by itself with its record
     * written; false with what it said, or how it was killed, as a sentence.
     */
    bool (*collect)(struct launch *l, struct text *err);
};

extern const struct launcher launch_local;

#endif
