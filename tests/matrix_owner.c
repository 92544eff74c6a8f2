/* owner.json: what is written is what is read, and anything else is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "matrix/file.h"
#include "matrix/owner.h"

static char path[] = "/tmp/lm_owner_XXXXXX";

static int set_up(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 || close(fd);
}

static int tear_down(void **state) {
    (void)state;
    return unlink(path);
}

static void put(const char *bytes) {
    struct text err = {0};
    assert_true(file_write_quick(path, bytes, strlen(bytes), &err));
}

static void owner_comes_back_as_written(void **state) {
    (void)state;
    struct text err = {0};
    struct owner a = {.host = "h\"ost",
            .boot_id = "b",
            .nonce = "0123456789abcdef",
            .cgroup = "/sys/fs/cgroup/x",
            .started_unix_ms = 1700000000123,
            .runner = {12, 3456789012345},
            .supervisor = {13, 9}};
    struct owner b;
    assert_true(owner_write(path, &a, &err));
    assert_true(owner_read(path, &b, &err));
    assert_string_equal(b.host, a.host);
    assert_string_equal(b.boot_id, a.boot_id);
    assert_string_equal(b.nonce, a.nonce);
    assert_string_equal(b.cgroup, a.cgroup);
    assert_true(b.started_unix_ms == a.started_unix_ms);
    assert_memory_equal(&b.runner, &a.runner, sizeof a.runner);
    assert_memory_equal(&b.supervisor, &a.supervisor, sizeof a.supervisor);
    owner_finish(&b);
}

static void owner_without_cgroup_and_supervisor_comes_back(void **state) {
    (void)state;
    struct text err = {0};
    struct owner a = {.host = "h", .boot_id = "b", .nonce = "1", .runner = {1, 2}}, b;
    assert_true(owner_write(path, &a, &err));
    assert_true(owner_read(path, &b, &err));
    assert_null(b.cgroup);
    assert_int_equal(b.supervisor.pid, 0);
    owner_finish(&b);
}

static void what_is_no_owner_is_refused_with_its_path(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "{", "[]", "{\"format\": 1}",
            "{\"format\": 2, \"host\": \"h\", \"boot_id\": \"b\", \"nonce\": \"1\"}",
            "{\"format\": 1, \"host\": 3, \"boot_id\": \"b\", \"nonce\": \"1\"}",
            "{\"format\": 1, \"host\": \"h\", \"boot_id\": \"b\", \"nonce\": \"1\","
            " \"runner\": {\"pid\": \"x\"}}",
            "{\"format\": 1, \"host\": \"h\", \"boot_id\": \"b\", \"nonce\": "
            "\"0123456789012345678901234567890123456789012345678901234567890123456789\""
            "}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct text err = {0};
        struct owner o = {.nonce = "x"};
        put(wrong[i]);
        assert_false(owner_read(path, &o, &err));
        assert_non_null(strstr(text_get(&err), path));
        assert_null(o.host);
        text_finish(&err);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(owner_comes_back_as_written),
            cmocka_unit_test(owner_without_cgroup_and_supervisor_comes_back),
            cmocka_unit_test(what_is_no_owner_is_refused_with_its_path),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
