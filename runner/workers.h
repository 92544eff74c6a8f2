/*
 * Which program serves a cell: worker-cpu or worker-cuda beside the runner, a peer
 * engine's script, or whatever $LM_WORKER names.
 */
#ifndef RUNNER_WORKERS_H
#define RUNNER_WORKERS_H

#include <stdbool.h>

#include "matrix/axes.h"
#include "matrix/text.h"

struct workers {
    char *folder;    /* where the runner's executable lies */
    char **override; /* the words of $LM_WORKER; NULL where it is unset */
    bool has_cpu, has_cuda, has_torch;
    bool has_gpu;             /* a driver is loaded: `device: auto` means the GPU */
    char *cpu, *cuda, *torch; /* their paths, there or not */
    char *python;             /* what starts `torch`: $LM_PYTHON, else .venv's, else
                                 python3 */
};

bool workers_init(struct workers *w, struct text *err);
void workers_finish(struct workers *w);

/*
 * The command for these parameters, NULL-terminated, pointing into `w`: valid as long
 * as `w`; the array is the caller's to free. NULL, with a sentence in `why`, where no
 * worker here can serve them: the cell is `unsupported`.
 */
char **workers_choose(
        const struct workers *w, const struct params *p, struct text *why);

/* True where the cell will run on GPUs. */
bool workers_uses_gpu(const struct workers *w, const struct params *p);

#endif
