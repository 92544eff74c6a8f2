/*
 * A crew: the ranks of one communicator in shared memory, each through the same
 * function, as threads of this process or as processes of their own. A rank that cannot
 * join, or says what went wrong, fails the test.
 */
#ifndef TESTS_HELPERS_CREW_H
#define TESTS_HELPERS_CREW_H

#include "worker/comm.h"

enum { CREW_DEADLINE_MS = 30000, CREW_MOST = 8 };

/* What a rank does; NULL where all is as it should be, or one sentence. */
typedef const char *(*crew_fn)(struct comm *c, int rank, int world);

/* How often the communicator told a rank that it waits, or that something moves. */
struct crew_told {
    int waiting, moving;
};

/*
 * `world` ranks, of which each may ask for `bytes` to share, as threads. `told` has
 * room for one each and is zeroed by the caller; NULL where nobody wants to be told.
 */
void crew_run_threads(int world, size_t bytes, crew_fn body, struct crew_told *told);

/* The same as processes. To be called while this one has no other thread. */
void crew_run_processes(int world, size_t bytes, crew_fn body);

#endif
