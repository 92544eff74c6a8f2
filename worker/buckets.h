/*
 * The slices in which a gradient arena travels.
 */
#ifndef WORKER_BUCKETS_H
#define WORKER_BUCKETS_H

#include <stdint.h>

#include "worker/parameters.h"

/* Elements [from, to) of the arena. */
struct bucket {
    int64_t from, to;
};

/* In the order in which backward fills them: the arena's end comes first. */
struct buckets {
    struct bucket *items;
    int count;
};

/*
 * Cut elements [from, the end) into slices of at least `least` elements, or what is
 * left, of which `last` or a little more are a slice of their own. Cuts lie between
 * parameters; where `unit` > 1, on multiples of `unit` instead, which must divide
 * `from` and the arena's size.
 */
void buckets_init(struct buckets *b, const struct parameters *parameters, int64_t from,
        int64_t least, int64_t last, int64_t unit);
void buckets_finish(struct buckets *b); /* zeroed is fine */

#endif
