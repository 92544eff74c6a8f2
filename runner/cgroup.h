/*
 * A cgroup2 leaf for the ranks of one attempt, where this machine has a real, writable
 * cgroup2. It is a help, not a need: without it the process tree alone is used.
 */
#ifndef RUNNER_CGROUP_H
#define RUNNER_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"

struct cgroup {
    char *path;        /* of the leaf; NULL where there is none */
    int folder_fd;     /* it, for children to start in; -1 where none */
    bool memory_limit; /* memory.max holds the limit that was asked for */
};

/*
 * The folder of a leaf named after `nonce` below this process's own cgroup, not made
 * yet, so that it can be written down first. NULL where there is no cgroup2. Owned by
 * the caller.
 */
char *cgroup_leaf(const char *nonce);

/*
 * Make the leaf `path` (NULL: none), limited to `memory_bytes` (0: unlimited) where the
 * memory controller is there. False, without a sentence, where it is not ours to make:
 * `c` is then empty but valid.
 */
bool cgroup_create(struct cgroup *c, const char *path, int64_t memory_bytes);

/* How many of its processes the kernel's out-of-memory killer has ended; 0 unknown. */
int64_t cgroup_oom_kills(const struct cgroup *c);

/* Kill all below it, wait until they are gone, remove it. An empty `c` is fine. */
void cgroup_destroy(struct cgroup *c);

/* The same for a leaf that a supervisor left behind; anything else is left alone. */
void cgroup_destroy_path(const char *path);

#endif
