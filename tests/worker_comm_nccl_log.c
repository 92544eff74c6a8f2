/*
 * What is read from NCCL's log: its lines of several versions, and a log written the
 * way NCCL writes one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/comm_nccl_log.h"

static void lines_of_every_version_are_understood(void **state) {
    (void)state;
    static const struct {
        const char *line, *kind;
        int64_t bytes;
    } cases[] = {
            // 2.24 and later
            {"node:12:34 [0] NCCL INFO AllReduce: 4096 Bytes -> Algo RING proto LL "
             "channel{Lo..Hi}={0..1}",
                    "AllReduce", 4096},
            // 2.27 and 2.28, memory in windows
            {"node:12:34 [0] NCCL INFO AllGather [Symmetric]: 67108864 Bytes -> Kernel "
             "AllGather_ST nchannels 9 nthreads 512 nWorks 1",
                    "AllGather", 67108864},
            // 2.20 to 2.22
            {"node:12:34 [0] NCCL INFO 512 Bytes -> Algo 1 proto 0 time 7.2", "", 512},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t bytes;
        const char *words;
        int kind_size;
        assert_true(comm_nccl_log_parse(cases[i].line, &bytes, &words, &kind_size));
        assert_int_equal(bytes, cases[i].bytes);
        assert_int_equal(kind_size, strlen(cases[i].kind));
        assert_memory_equal(words, cases[i].kind, strlen(cases[i].kind));
        assert_ptr_equal(words, strstr(cases[i].line, "INFO ") + 5);
    }
    static const char *const others[] = {"",
            "node:12:34 [0] NCCL INFO Algorithm   |  Tree  |  Ring",
            "node:12:34 [0] NCCL INFO AllReduce: many Bytes -> Algo RING",
            "AllReduce: 4096 Bytes -> Algo RING proto LL"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        int64_t bytes;
        const char *words;
        int kind_size;
        assert_false(comm_nccl_log_parse(others[i], &bytes, &words, &kind_size));
    }
}

static void put(FILE *log, const char *words) {
    fprintf(log, "node:12:34 [0] NCCL INFO %s\n", words);
}

static void the_largest_of_each_kind_is_told(void **state) {
    (void)state;
    unsetenv("NCCL_DEBUG");
    unsetenv("NCCL_DEBUG_FILE");
    unsetenv("NCCL_DEBUG_SUBSYS");
    comm_nccl_log_open();
    assert_string_equal(getenv("NCCL_DEBUG"), "INFO");
    assert_string_equal(getenv("NCCL_DEBUG_SUBSYS"), "TUNING");
    FILE *log = fopen(getenv("NCCL_DEBUG_FILE"), "w");
    assert_non_null(log);
    setlinebuf(log);
    struct text out = {0};
    assert_false(comm_nccl_log_read(&out));
    put(log, "AllReduce: 16 Bytes -> small");
    put(log, "AllReduce: 4096 Bytes -> large");
    put(log, "ReduceScatter [Symmetric]: 99 Bytes -> other");
    put(log, "AllReduce [Symmetric]: 4095 Bytes -> smaller");
    // A line longer than NCCL's own, and one that is not complete yet.
    for (int i = 0; i < 3000; i++) {
        fputc('x', log);
    }
    fputs("\nnode:12:34 [0] NCCL INFO AllReduce: 9999 By", log);
    fflush(log);
    assert_true(comm_nccl_log_read(&out));
    assert_string_equal(text_get(&out), "AllReduce: 4096 Bytes -> large; "
                                        "ReduceScatter [Symmetric]: 99 Bytes -> other");
    text_clear(&out);
    assert_false(comm_nccl_log_read(&out));
    fputs("tes -> largest\n", log);
    assert_true(comm_nccl_log_read(&out));
    assert_string_equal(text_get(&out), "AllReduce: 9999 Bytes -> largest");
    text_clear(&out);
    comm_nccl_log_close();
    // The writer goes on, and nobody keeps what it writes.
    put(log, "AllReduce: 5 Bytes -> lost");
    assert_int_equal(fflush(log), 0);
    char link[64], target[64] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fileno(log));
    assert_true(readlink(link, target, sizeof target - 1) > 0);
    assert_string_equal(target, "/dev/null");
    assert_false(comm_nccl_log_read(&out));
    fclose(log);
    text_finish(&out);
}

static void a_log_of_the_users_is_left_alone(void **state) {
    (void)state;
    setenv("NCCL_DEBUG", "WARN", 1);
    unsetenv("NCCL_DEBUG_FILE");
    struct text out = {0};
    comm_nccl_log_open();
    assert_string_equal(getenv("NCCL_DEBUG"), "WARN");
    assert_null(getenv("NCCL_DEBUG_FILE"));
    assert_false(comm_nccl_log_read(&out));
    comm_nccl_log_close();
    text_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(lines_of_every_version_are_understood),
            cmocka_unit_test(the_largest_of_each_kind_is_told),
            cmocka_unit_test(a_log_of_the_users_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
