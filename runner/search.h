/*
 * `batch: max`: the largest batch that trains, found before the attempt proper by
 * probes, each a supervised attempt of a few steps in processes of its own, kept in
 * <attempt>/probe-<batch>/ where neither records nor reports look.
 *
 * A probe trains where it ends `ok`, or `invalid`: it had the memory. It does not where
 * it ran out of memory or time, or where its worker does not serve such a batch. A
 * probe that ends in any other way is a fault that the cell's own record has to show:
 * the search ends and the attempt is made with that batch; likewise with batch 1 where
 * not even that trains. Where the attempt itself then runs out of memory the runner
 * makes another, whose spec says below which batch to search: runner/refuted.
 */
#ifndef RUNNER_SEARCH_H
#define RUNNER_SEARCH_H

#include <jansson.h>
#include <stdint.h>

#include "matrix/axes.h"
#include "matrix/owner.h"
#include "matrix/spec.h"
#include "matrix/text.h"
#include "runner/launch.h"
#include "runner/machine.h"

enum search_end {
    SEARCH_DONE,
    SEARCH_INTERRUPTED, /* by a signal */
    SEARCH_ORPHANED,    /* the runner died */
    SEARCH_FAILED       /* a probe could not be made */
};

struct search {
    const char *folder;        /* the attempt's */
    const struct spec *spec;   /* whose batch is `max` */
    const struct owner *owner; /* probes carry its nonce, so one sweep finds them too */
    const struct machine *machine;
    const struct launch_gpus *gpus; /* those of the attempt */
    int signal_fd;                  /* signals to this process */
    int parent_fd; /* polls readable once the runner is dead; or −1 */

    int64_t batch;  /* the answer */
    json_t *record; /* {batch, seconds, probes: [{batch, status, seconds, predicted}]},
                       without `batch` where there is no answer, with `most` where the
                       spec has batch_most; owned */
};

/*
 * Whether a cell asks for a search. Only training has a batch: any other task takes the
 * word as it is.
 */
bool search_is_needed(const struct params *p);

/*
 * Search. `batch` is set on SEARCH_DONE; `record` in any case, for search_finish(). No
 * process of a probe is left, however it ends. `err` is set on SEARCH_FAILED.
 */
enum search_end search_run(struct search *s, struct text *err);

void search_finish(struct search *s);

#endif
