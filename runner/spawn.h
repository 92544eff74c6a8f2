/*
 * From a spec to a running rank: its command, its environment (design §6), and the
 * files that take what it prints.
 */
#ifndef RUNNER_SPAWN_H
#define RUNNER_SPAWN_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/spec.h"
#include "matrix/text.h"
#include "runner/rank.h"

/* What the ranks of one attempt have in common, and the next one's GPU. */
struct spawn {
    const char *folder;    /* the attempt's */
    const char *spec_path; /* what the ranks read */
    const struct spec *spec;
    const char *nonce;
    int world;
    int shm_fd;           /* the memory they share, -1 for a single rank */
    int cgroup_fd;        /* the leaf's folder, or -1 */
    int64_t memory_limit; /* bytes per rank, 0 for none */
    const char *bus_id;   /* PCI address of the rank's GPU, whose CPUs it is held to;
                             NULL: it has none */
};

/*
 * Start rank `r`, which rank_init() has prepared; its write end of the pipe is closed
 * here either way. On success `r` is started and its child owes child_reap().
 */
bool spawn_rank(const struct spawn *s, struct rank *r, struct text *err);

#endif
