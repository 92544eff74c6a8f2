/*
 * What the kernel says about memory: the witness beside our own plan.
 */
#ifndef WORKER_MEASURE_H
#define WORKER_MEASURE_H

#include <stdint.h>

/* Of this process, in bytes, −1 where /proc does not say. */
int64_t measure_resident(void);      /* now in memory, shared pages included */
int64_t measure_resident_peak(void); /* the most there ever was */
int64_t measure_data(void); /* private writable mappings: RLIMIT_DATA's count */

/*
 * Bytes that all processes here together may still take: the least of what the host has
 * available and what the memory cgroups leave. INT64_MAX where nothing says.
 */
int64_t measure_host_free(void);

/* Bytes that RLIMIT_DATA leaves this process; INT64_MAX where it has no limit. */
int64_t measure_limit_left(void);

#endif
