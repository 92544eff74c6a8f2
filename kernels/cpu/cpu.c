/*
 * The CPU's table: the reference, overridden by the fast kernels of the widest
 * instruction set that this machine has.
 */
#include <pthread.h>

#include "kernels/cpu/table.h"

enum { BUILDS = 3 };

static struct kernels builds[BUILDS];
static int count; // of builds that this machine can run, the widest last
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void add_build(void (*fill)(struct kernels *k)) {
    builds[count] = *kernels_reference();
    builds[count].name = "cpu";
    fill(&builds[count]);
    count++;
}

static void find_builds(void) {
    add_build(table_fill_cpu);
#ifdef __x86_64__
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return;
    }
    add_build(table_fill_cpu_avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        add_build(table_fill_cpu_avx512);
    }
#endif
}

const struct kernels *cpu_build(int index) {
    pthread_once(&once, find_builds);
    return index >= 0 && index < count ? &builds[index] : NULL;
}

const struct kernels *kernels_cpu(void) {
    pthread_once(&once, find_builds);
    return &builds[count - 1];
}
