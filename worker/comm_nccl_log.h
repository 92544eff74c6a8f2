/*
 * Which way NCCL took, in its own words. What it would do is no secret (size,
 * settings), what it does is: only its log tells. So, unless the environment asks for a
 * log itself, NCCL writes one into memory of this process, which is read here.
 *
 * NCCL has one log a process, so this has one state; from one thread at a time.
 */
#ifndef WORKER_COMM_NCCL_LOG_H
#define WORKER_COMM_NCCL_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"

/*
 * Have NCCL write a log, by variables of the environment: before it is first called. No
 * log where NCCL_DEBUG or NCCL_DEBUG_FILE is set, or where there is no memory for one.
 */
void comm_nccl_log_open(void);

/*
 * Add the way taken by the largest operation of each kind since this was last asked,
 * "AllReduce: 4096 Bytes -> Algo RING proto LL channel{Lo..Hi}={0..1}", parts by "; ".
 * False where the log tells of none: NCCL tells on its rank 0 alone.
 */
bool comm_nccl_log_read(struct text *out);

/* NCCL's log goes nowhere from now on, so that it takes no more memory. */
void comm_nccl_log_close(void);

/*
 * The operation a line of the log tells of: its bytes, and where in the line its words
 * and the end of its kind are. False where it tells of something else.
 */
bool comm_nccl_log_parse(
        const char *line, int64_t *bytes, const char **words, int *kind_size);

#endif
