/*
 * How a cell's supervisor is started and followed. One launcher so far: `local`, a
 * child of the runner on this machine; a cluster's scheduler is one more entry of this
 * shape.
 */
#ifndef RUNNER_LAUNCH_H
#define RUNNER_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"
#include "runner/child.h"

/* The GPUs of an attempt, as its supervisor is told of them. */
struct launch_gpus {
    char *numbers;         /* "0,2" as on this machine, in PCI order; "" for none */
    int64_t missing_bytes; /* of their memory, that earlier cells did not give back */
};

/* One supervisor under way. */
struct launch {
    struct child child;
    int log_fd; /* what it says on stderr; a memfd */
};

struct launcher {
    const char *name;

    /*
     * Start the supervisor of the claimed attempt in `folder`, which sees only `gpus`;
     * NULL where what it sees is to be left alone. On success `l` owes collect(); on
     * failure nothing runs.
     */
    bool (*start)(struct launch *l, const char *folder, const struct launch_gpus *gpus,
            struct text *err);

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

/* In the supervisor: the GPUs it was started with; zeroed where it was told of none. */
void launch_told(struct launch_gpus *out);

/* The number of the `index`-th of them, −1 where there are fewer. */
int launch_gpu_number(const struct launch_gpus *g, int index);

void launch_gpus_finish(struct launch_gpus *g);

#endif
