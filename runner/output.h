/*
 * What a rank prints: rank<N>.stdout and rank<N>.stderr, which it writes by itself.
 * Nobody reads along, so their sizes have to be looked at: one that prints without end
 * would fill the disk. A limit on the size of files (RLIMIT_FSIZE) would hold its
 * checkpoints and data to the same bound.
 */
#ifndef RUNNER_OUTPUT_H
#define RUNNER_OUTPUT_H

#include <stdbool.h>

#include "matrix/text.h"

#define OUTPUT_MAX_MIB 64 /* of each of the two */

struct output {
    int stdout_fd, stderr_fd; /* -1 where not open; owned */
};

#define OUTPUT_NONE                                                                    \
    { -1, -1 }

/*
 * Create both files of `rank` in `folder`, or empty them. On failure `o` needs no
 * finish.
 */
bool output_open(struct output *o, const char *folder, int rank, struct text *err);
void output_finish(struct output *o);

/*
 * Whether one of the two has grown past the bound. `what` gains the rest of a sentence
 * about the rank: "wrote more than 64 MiB to its standard output".
 */
bool output_overflows(const struct output *o, struct text *what);

/* Cut both to the bound; whoever still writes would only make them grow again. */
void output_cut(const struct output *o);

#endif
