/*
 * Data-parallel wrappers, as ops added to a program whose backward is declared: how the
 * ranks' gradients are added up, and who updates what.
 *
 * naive     one all-reduce per parameter, after backward
 * flat      one for the whole gradient, after backward
 * bucketed  slices of at least `bucket_mb` of the gradient arena, in backward order,
 *           each queued as soon as the last op that writes into it has run; where
 *           attentions take long enough to hide all, shared out: in front of each a
 *           like part, but no less than `bucket_mb`
 * sharded   slices likewise, in front of the next attention where that hides them, of
 *           which each rank receives, sums and updates its equal share, so that it
 *           holds optimizer state for that alone (ZeRO-1, Rajbhandari et al. 2020);
 *           weights are gathered under the next forward, each slice awaited where it is
 *           first used
 *
 * Under accumulation only the last micro-step reduces. The mean over ranks is folded
 * into the loss's gradient, so all of them sum. Through shared memory every element is
 * summed in rank order whatever slice it travels in, so naive, flat and sharded give
 * the same bits, and so do bucketed ones of any size.
 *
 * A token table gets the embedding's gradient last in backward, and one tied to the
 * head that of the head first. Bucketed does not wait with whole tables: it reduces the
 * head's part early and at the end gathers what the embedding adds, a row a token, from
 * all ranks, where that moves less than the table would. The rows travel while the last
 * product for a weight runs. Behind them the last slice, smaller than the others, is
 * summed while the rows are added to the table. The optimizer does not wait for either
 * with the norm of what is whole.
 */
#ifndef WORKER_DDP_H
#define WORKER_DDP_H

#include "matrix/axes.h"
#include "worker/comm.h"
#include "worker/parameters.h"
#include "worker/program.h"
#include "worker/shape.h"
#include "worker/shards.h"

struct ddp {
    int64_t wrapper; /* DDP_…; DDP_NONE where there is one rank */
    int world, rank;
    struct buckets buckets; /* of bucketed and sharded */
    struct shards shards;   /* what this rank updates; unless sharded, all */
    int64_t least;          /* elements of a bucket, but for the last */
    bool gathers_tokens;    /* what an embedding adds comes last, by token … */
    int64_t tables;         /* … to this many elements, the first; 0: not gathered */
    bool beside_attention;  /* what is summed waits for the next attention */
};

/* Decide, for rank `rank`; may lengthen the arena. Before the model is declared. */
void ddp_init(struct ddp *d, const struct shape *shape, struct parameters *parameters,
        const struct params *params, int rank);
void ddp_finish(struct ddp *d); /* zeroed is fine */

/* How much of a device its communication may take. */
enum comm_share ddp_share(const struct ddp *d);

/* Add the reductions; before optimizer_declare(). */
void ddp_declare(const struct ddp *d, const struct shape *shape,
        const struct parameters *parameters, struct program *p);

#define DDP_PARTS 3

/* Elements of the gradient, in whole chunks of its norm, and the op of the program
 * behind which they are what this rank updates from. */
struct ddp_part {
    int64_t from, to;
    int behind;
};

/*
 * Cut the gradient into parts, in the order in which they are whole: together they are
 * all `elements`, and some may be empty. Returns how many. Where tokens are not
 * gathered it is one, behind all that is in the program yet. After ddp_declare(); no op
 * that writes gradients may be added later. Not under sharded: no rank has all there.
 */
int ddp_parts(const struct ddp *d, const struct program *p, int64_t elements,
        struct ddp_part parts[DDP_PARTS]);

/* Sharded: add what brings the weights together for forward. To any program. */
void ddp_declare_gather(
        const struct ddp *d, const struct parameters *parameters, struct program *p);

#endif
