/*
 * The CPU's table: the reference, overridden by what is faster on this machine.
 */
#include <pthread.h>

#include "kernels/kernels.h"

static struct kernels table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_table(void) {
    table = *kernels_reference();
    table.name = "cpu";
}

const struct kernels *kernels_cpu(void) {
    pthread_once(&once, fill_table);
    return &table;
}
