/* Memory of the host as a device: its end, and its refusal. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/kernels.h"

static void memory_is_aligned_and_zeroed(void **state) {
    (void)state;
    const struct kernels *k = kernels_cpu();
    const size_t sizes[] = {0, 1, 63, 64, 4095, 4096, 4097, 1 << 20};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct kernel_error err;
        void *memory;
        assert_true(k->allocate(0, MEMORY_DEVICE, sizes[i], &memory, &err));
        assert_int_equal((uintptr_t)memory % 64, 0);
        for (size_t b = 0; b < sizes[i]; b++) {
            assert_int_equal(((unsigned char *)memory)[b], 0);
        }
        memset(memory, 1, sizes[i]);
        k->release(0, MEMORY_DEVICE, memory, sizes[i]);
    }
    k->release(0, MEMORY_DEVICE, NULL, 64);
}

// The child's end: 0 where the byte past the end could be written.
static int write_past(unsigned char *end) {
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL); // a sanitizer's handler would report it
        *(volatile unsigned char *)end = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void writing_past_the_end_faults(void **state) {
    (void)state;
    const struct kernels *k = kernels_cpu();
    struct kernel_error err;
    void *memory;
    size_t bytes = 4096 + 64;
    assert_true(k->allocate(0, MEMORY_DEVICE, bytes, &memory, &err));
    assert_int_equal(write_past((unsigned char *)memory + bytes - 1), 0);
    assert_int_equal(write_past((unsigned char *)memory + bytes), SIGSEGV);
    k->release(0, MEMORY_DEVICE, memory, bytes);
}

static void refused_memory_says_how_much_was_asked(void **state) {
    (void)state;
    struct kernel_error err = {0};
    void *memory;
    size_t bytes = SIZE_MAX / 2 - 4096;
    assert_false(kernels_cpu()->allocate(0, MEMORY_DEVICE, bytes, &memory, &err));
    assert_int_equal(err.kind, KERNEL_OUT_OF_MEMORY);
    assert_int_equal(err.bytes_asked, bytes);
    assert_true(err.bytes_free > 0 && err.bytes_free < bytes);
    assert_non_null(strstr(err.sentence, "cannot allocate"));
}

#ifdef _OPENMP
/* Bytes that RLIMIT_DATA counts. */
static rlim_t data_bytes(void) {
    char line[256];
    rlim_t kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "VmData:", 7) == 0) {
            kib = strtoull(line + 7, NULL, 10);
        }
    }
    if (file) {
        fclose(file);
    }
    return kib * 1024;
}

/* Leave this process so many bytes and ask for a stream of so many threads. */
static int stream_within(rlim_t bytes, int threads) {
    const struct kernels *k = kernels_cpu();
    struct stream_options options = {.threads = threads};
    struct stream *stream = NULL;
    struct kernel_error err = {0};
    struct rlimit limit = {data_bytes() + bytes, data_bytes() + bytes};
    if (setrlimit(RLIMIT_DATA, &limit) != 0) {
        return -1;
    }
    bool made = k->stream_create(&options, &stream, &err);
    return made ? 0 : err.bytes_asked > bytes ? (int)err.kind : -1;
}

/* OpenMP would end the process, at the first op that wants them. */
static void threads_without_room_for_their_stacks_are_refused(void **state) {
    (void)state;
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(stream_within(20 << 20, 64));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), KERNEL_OUT_OF_MEMORY);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(memory_is_aligned_and_zeroed),
            cmocka_unit_test(writing_past_the_end_faults),
            cmocka_unit_test(refused_memory_says_how_much_was_asked),
#ifdef _OPENMP
            cmocka_unit_test(threads_without_room_for_their_stacks_are_refused),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
