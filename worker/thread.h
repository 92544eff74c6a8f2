/*
 * Threads beside a rank's own. Their stacks count whole against a cell's memory limit,
 * used or not, so they get small ones.
 */
#ifndef WORKER_THREAD_H
#define WORKER_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"

/* Of a thread that stays within this project's code; of one that calls a driver, whose
 * needs nobody tells. */
#define THREAD_STACK_BYTES ((size_t)256 << 10)
#define THREAD_STACK_DRIVER_BYTES ((size_t)1 << 20)

/*
 * As pthread_create(), with a stack of so many bytes. False where it is refused: `why`
 * says that `name`'s thread cannot start, and is out of memory where the kernel has
 * none for the stack, or no further thread.
 */
bool thread_start(pthread_t *thread, const char *name, size_t stack_bytes,
        void *(*run)(void *), void *user, struct kernel_error *why);

#endif
