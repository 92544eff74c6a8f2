/*
 * What differs between worker-cpu and worker-cuda: worker/backend_cpu.c is linked into
 * the one, worker/backend_cuda.c into the other; all else they share.
 */
#ifndef WORKER_BACKEND_H
#define WORKER_BACKEND_H

#include <stdbool.h>

#include "kernels/kernels.h"
#include "worker/comm.h"

/* The executable's name, "worker-cpu". */
const char *backend_name(void);

/* Whether its device is a GPU, with memory of its own. */
bool backend_on_gpu(void);

/* Its table of kernels. */
const struct kernels *backend_kernels(void);

/* How its ranks reach each other; NULL: this build has no way. */
const struct comm_backend *backend_comm(void);

#endif
