#include "worker/thread.h"

#include <errno.h>
#include <string.h>

#include "worker/measure.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static int create(
        pthread_t *thread, size_t stack_bytes, void *(*run)(void *), void *user) {
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error) {
        return error;
    }
    // A sanitizer's frames are several times larger, and its builds have no limit.
    error = SANITIZED ? 0 : pthread_attr_setstacksize(&attributes, stack_bytes);
    error = error ? error : pthread_create(thread, &attributes, run, user);
    pthread_attr_destroy(&attributes);
    return error;
}

bool thread_start(pthread_t *thread, const char *name, size_t stack_bytes,
        void *(*run)(void *), void *user, struct kernel_error *why) {
    int error = create(thread, stack_bytes, run, user);
    if (!error) {
        return true;
    }
    bool refused = error == EAGAIN || error == ENOMEM;
    if (refused) {
        int64_t left = measure_limit_left(), host = measure_host_free();
        why->bytes_asked = stack_bytes;
        why->bytes_free = (size_t)(left < host ? left : host);
    }
    return kernel_fail(why, refused ? KERNEL_OUT_OF_MEMORY : KERNEL_FAILED,
            "cannot start the %s's thread: %s", name, strerror(error));
}
