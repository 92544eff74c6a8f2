#include "kernels/host.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#endif

struct device_event {
    struct timespec at;
};

bool kernel_fail(
        struct kernel_error *err, enum kernel_failure kind, const char *format, ...) {
    va_list arguments;
    err->kind = kind;
    va_start(arguments, format);
    vsnprintf(err->sentence, sizeof(err->sentence), format, arguments);
    va_end(arguments);
    return false;
}

int host_device_count(void) {
    return 1;
}

void host_device_name(int device, char *name, size_t size) {
    (void)device;
    char line[256];
    snprintf(name, size, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (!file) {
        return;
    }
    while (fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            colon[1 + strcspn(colon + 1, "\n")] = '\0';
            snprintf(name, size, "%s", colon + 1 + strspn(colon + 1, " "));
            break;
        }
    }
    fclose(file);
}

static size_t page_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

// Bytes of the usable pages: `bytes` rounded up, at least one page.
static size_t usable_bytes(size_t bytes) {
    size_t page = page_size();
    size_t pages = bytes / page + (bytes % page != 0);
    return (pages ? pages : 1) * page;
}

static size_t aligned_bytes(size_t bytes) {
    return (bytes + HOST_ALIGNMENT - 1) / HOST_ALIGNMENT * HOST_ALIGNMENT;
}

/* The number after `name` in a file of /proc that counts kB, in bytes; 0 if absent. */
static size_t proc_bytes(const char *path, const char *name) {
    char line[256];
    size_t kib = 0, length = strlen(name);
    FILE *file = fopen(path, "re");
    if (!file) {
        return 0;
    }
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, name, length) == 0) {
            kib = strtoull(line + length, NULL, 10);
            break;
        }
    }
    fclose(file);
    return kib * 1024;
}

/* What the machine has left, or this process's own limit, whichever is less. */
static size_t free_bytes(void) {
    size_t available = proc_bytes("/proc/meminfo", "MemAvailable:");
    struct rlimit limit;
    if (getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return available;
    }
    size_t used = proc_bytes("/proc/self/status", "VmData:");
    size_t left = used < limit.rlim_cur ? limit.rlim_cur - used : 0;
    return left < available ? left : available;
}

bool host_allocate(int device, enum memory_kind kind, size_t bytes, void **out,
        struct kernel_error *err) {
    (void)device;
    (void)kind;
    size_t page = page_size();
    char *base = MAP_FAILED;
    if (bytes < SIZE_MAX / 2) {
        base = mmap(NULL, usable_bytes(bytes) + page, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (base == MAP_FAILED) {
        err->bytes_asked = bytes;
        err->bytes_free = free_bytes();
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY,
                "cannot allocate %zu bytes of host memory (%zu are free)", bytes,
                err->bytes_free);
    }
    char *guard = base + usable_bytes(bytes);
    if (mprotect(guard, page, PROT_NONE) != 0) {
        int error = errno;
        munmap(base, usable_bytes(bytes) + page);
        return kernel_fail(
                err, KERNEL_FAILED, "cannot protect a guard page: %s", strerror(error));
    }
    *out = guard - aligned_bytes(bytes);
    return true;
}

void host_release(int device, enum memory_kind kind, void *memory, size_t bytes) {
    (void)device;
    (void)kind;
    if (!memory) {
        return;
    }
    char *base = (char *)memory + aligned_bytes(bytes) - usable_bytes(bytes);
    munmap(base, usable_bytes(bytes) + page_size());
}

#ifdef _OPENMP
static void *wait_turn(void *user) {
    pthread_mutex_t *lock = user;
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

static size_t stack_bytes(void) {
    pthread_attr_t attributes;
    size_t bytes = 0;
    pthread_attr_init(&attributes);
    pthread_attr_getstacksize(&attributes, &bytes);
    pthread_attr_destroy(&attributes);
    return bytes;
}

/*
 * Start OpenMP's threads now: their stacks count against a memory limit, and where one
 * is refused the library ends the process without a word. So as many are tried first;
 * the C library keeps their stacks for those that follow.
 */
static bool start_threads(int threads, struct kernel_error *err) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *tried = calloc((size_t)threads, sizeof(*tried));
    int count = 0, error = tried ? 0 : ENOMEM;
    pthread_mutex_lock(&lock);
    while (!error && count < threads - 1) {
        error = pthread_create(&tried[count], NULL, wait_turn, &lock);
        count += !error;
    }
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < count; i++) {
        pthread_join(tried[i], NULL);
    }
    free(tried);
    if (error) {
        err->bytes_asked = (size_t)(threads - 1) * stack_bytes();
        err->bytes_free = free_bytes();
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "cannot start %d threads: %s",
                threads, strerror(error));
    }
#pragma omp parallel num_threads(threads)
    {
        sched_yield(); // a region that did nothing might be left out
    }
    return true;
}
#endif

bool host_stream_create(const struct stream_options *options, struct stream **out,
        struct kernel_error *err) {
    struct stream *stream = malloc(sizeof(*stream));
    if (!stream) {
        err->bytes_asked = sizeof(*stream);
        err->bytes_free = free_bytes();
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "cannot allocate a stream");
    }
    stream->options = *options;
    stream->threads = 1;
#ifdef _OPENMP
    stream->threads = options->threads > 0 ? options->threads : omp_get_num_procs();
    if (stream->threads > 1 && !start_threads(stream->threads, err)) {
        free(stream);
        return false;
    }
#endif
    *out = stream;
    return true;
}

void host_stream_destroy(struct stream *stream) {
    free(stream);
}

bool host_stream_synchronize(struct stream *stream, struct kernel_error *err) {
    (void)stream;
    (void)err;
    return true;
}

bool host_event_create(
        struct stream *stream, struct device_event **out, struct kernel_error *err) {
    (void)stream;
    *out = calloc(1, sizeof(**out));
    if (!*out) {
        err->bytes_asked = sizeof(**out);
        err->bytes_free = free_bytes();
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "cannot allocate an event");
    }
    return true;
}

void host_event_destroy(struct device_event *event) {
    free(event);
}

bool host_event_record(
        struct stream *stream, struct device_event *event, struct kernel_error *err) {
    (void)stream;
    (void)err;
    clock_gettime(CLOCK_MONOTONIC, &event->at);
    return true;
}

bool host_event_wait(
        struct stream *stream, struct device_event *event, struct kernel_error *err) {
    (void)stream;
    (void)event; // Recorded means done: streams are immediate.
    (void)err;
    return true;
}

bool host_event_synchronize(struct device_event *event, struct kernel_error *err) {
    (void)event;
    (void)err;
    return true;
}

bool host_event_elapsed_ms(struct device_event *from, struct device_event *to,
        double *ms, struct kernel_error *err) {
    (void)err;
    *ms = 1e3 * (double)(to->at.tv_sec - from->at.tv_sec) +
          1e-6 * (double)(to->at.tv_nsec - from->at.tv_nsec);
    return true;
}

bool host_copy(struct stream *stream, enum copy_kind kind, void *to, const void *from,
        size_t bytes, struct kernel_error *err) {
    (void)stream;
    (void)kind;
    (void)err;
    if (bytes) {
        memmove(to, from, bytes);
    }
    return true;
}

bool host_fill(struct stream *stream, void *memory, unsigned char byte, size_t bytes,
        struct kernel_error *err) {
    (void)stream;
    (void)err;
    if (bytes) {
        memset(memory, byte, bytes);
    }
    return true;
}
