/*
 * A rank's eye on the others of its cell: it tells, for a communicator, that this rank
 * waits for another, or has lost one. And it speaks for a rank whose own thread is
 * stuck in its device: where others have yet to queue what this rank has queued, it
 * says once a second that this rank waits. On a GPU a rank whose peer hangs
 * blocks in a collective on its stream, and on the host in whatever asks the device
 * next, so that nothing else can tell it from the one that hangs. Where nobody is
 * behind it keeps still: then the silence means trouble.
 */
#ifndef WORKER_LOOKOUT_H
#define WORKER_LOOKOUT_H

#include <stdbool.h>

#include "worker/attempt.h"
#include "worker/comm.h"
#include "worker/ticker.h"

struct lookout {
    struct attempt *attempt;
    const struct kernels *kernels;
    int device;
    struct comm *comm;
    int64_t announced; /* so far */
    struct ticker ticker;
};

/*
 * For a communicator about to be made with `o`, whose kernels and device are set: let
 * it tell what it sees of the others through `l`, which must stay where it is until
 * lookout_stop(), or until the process ends.
 */
void lookout_prepare(struct lookout *l, struct attempt *a, struct comm_options *o);

/* The communicator is made: start the thread. `c` must outlive it. */
bool lookout_start(struct lookout *l, struct comm *c, struct kernel_error *why);

/*
 * This rank is about to queue work that the others may have to wait for: a step, or a
 * batch of an evaluation. All ranks announce the same things in the same order. Nothing
 * where it was not started: a rank alone.
 */
void lookout_announce(struct lookout *l);

/*
 * Both, around meeting the other ranks of the cell through this build's back end: on
 * `device`, with `bytes` and `share` as comm_options have them. Waits for them a little
 * longer than start_s. False, the attempt failed: as collateral only where it is for
 * the other ranks that they did not meet.
 */
bool lookout_meet(struct lookout *l, struct attempt *a, int device, size_t bytes,
        enum comm_share share, struct comm **out);

void lookout_stop(struct lookout *l); /* zeroed is fine */

#endif
