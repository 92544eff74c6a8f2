/* Memory of the host as a device: its end, and its refusal. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(memory_is_aligned_and_zeroed),
            cmocka_unit_test(writing_past_the_end_faults),
            cmocka_unit_test(refused_memory_says_how_much_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
