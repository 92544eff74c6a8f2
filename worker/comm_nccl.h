/*
 * The back end of a communicator that is NCCL: one GPU a rank, for worker-cuda. NCCL
 * runs on a stream of its own; everything here may happen while the caller's stream is
 * being captured, from comm_wait(0) to comm_wait(0).
 *
 * Memory lies in windows that all ranks map (NCCL's symmetric memory, from 2.27),
 * unless LM_NCCL_REGISTER is 0. Variables NCCL_* of the environment are NCCL's; where
 * they are silent, gathers go by copy engines (from 2.28), an operation that is waited
 * for takes COMM_NCCL_CTAS_ALONE of the GPU's multiprocessors, one that gets few at
 * most COMM_NCCL_CTAS, and with the least share, from windows, (W − 1) ÷ W of those: so
 * much a reduce-scatter among W ranks moves of what it sums. RAS, which would want a
 * port for every cell, is off.
 */
#ifndef WORKER_COMM_NCCL_H
#define WORKER_COMM_NCCL_H

#include "worker/comm.h"

#define COMM_NCCL_CTAS 8
#define COMM_NCCL_CTAS_ALONE "32"

extern const struct comm_backend comm_nccl_backend;

#endif
