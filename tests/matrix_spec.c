/* spec.json: written and read back, damaged and refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "matrix/file.h"
#include "matrix/spec.h"

static char folder[] = "/tmp/lm-spec-XXXXXX";
static char path[64];

static int make_folder(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/spec.json", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void write_one(void) {
    char *worker[] = {"/a b/worker-cpu", "--x", NULL};
    struct spec s = {.matrix = "smoke",
            .cell = "fp32/kernel=naive",
            .attempt = 3,
            .expect = -1,
            .worker = worker,
            .profiler = "/opt/nsys",
            .batch_most = 124};
    struct text err = {0};
    params_init(&s.params);
    assert_true(params_set(&s.params, PARAM_LR, "0.1", &err));
    params_hash(&s.params, s.hash);
    assert_true(spec_write(path, &s, &err));
}

static void what_is_written_reads_back(void **state) {
    (void)state;
    write_one();
    struct spec s;
    struct text err = {0};
    assert_true(spec_read(path, &s, &err));
    assert_string_equal(s.matrix, "smoke");
    assert_string_equal(s.cell, "fp32/kernel=naive");
    assert_int_equal(s.attempt, 3);
    assert_int_equal(s.expect, -1);
    assert_string_equal(s.worker[0], "/a b/worker-cpu");
    assert_string_equal(s.worker[1], "--x");
    assert_null(s.worker[2]);
    assert_string_equal(s.profiler, "/opt/nsys");
    assert_int_equal(s.batch_most, 124);
    assert_true(params_real(&s.params, PARAM_LR) == 0.1);
    char hash[13];
    params_hash(&s.params, hash);
    assert_string_equal(s.hash, hash);
    spec_finish(&s);
    spec_finish(&s);
}

static void every_truncation_is_refused_in_one_sentence(void **state) {
    (void)state;
    write_one();
    struct text bytes = {0}, err = {0};
    assert_true(file_read(path, 1 << 20, &bytes, &err));
    for (size_t size = 0; size + 2 < bytes.size; size++) {
        struct spec s;
        assert_false(spec_parse("spec.json", bytes.data, size, &s, &err));
        assert_true(err.size > 0);
        assert_null(s.matrix);
        text_clear(&err);
    }
    text_finish(&bytes);
    text_finish(&err);
}

static void other_formats_and_missing_fields_are_named(void **state) {
    (void)state;
    static const struct {
        const char *json, *sentence;
    } rows[] = {
            {"{}", "x: found no valid 'format', expected an integer"},
            {"[]", "x: found no JSON object"},
            {"{\"format\": 2, \"protocol\": 1}", "x: found format 2, expected 1"},
            {"{\"format\": 1, \"protocol\": 9}", "x: found protocol 9, expected 1"},
            {"{\"format\": 1, \"protocol\": 1, \"matrix\": 3}",
                    "x: found no valid 'matrix', expected a text"},
            {"{\"format\": 1, \"protocol\": 1, \"matrix\": \"m\", \"cell\": \"c\", "
             "\"hash\": \"ABC\"}",
                    "x: found no valid 'hash', expected a hash"},
            {"{\"format\": 1, \"protocol\": 1, \"matrix\": \"m\", \"cell\": \"c\", "
             "\"hash\": \"0123456789ab\", \"attempt\": 1, \"expect\": \"okay\"}",
                    "x: found no valid 'expect', expected a status"},
            {"{\"format\": 1, \"protocol\": 1, \"matrix\": \"m\", \"cell\": \"c\", "
             "\"hash\": \"0123456789ab\", \"attempt\": 1, \"expect\": \"ok\", "
             "\"worker\": [1], \"params\": {}}",
                    "x: found no valid 'worker', expected a list of texts"},
            {"{\"format\": 1, \"protocol\": 1, \"matrix\": \"m\", \"cell\": \"c\", "
             "\"hash\": \"0123456789ab\", \"attempt\": 1, \"expect\": \"ok\", "
             "\"worker\": [], \"params\": {\"lrr\": 1}}",
                    "x: unknown parameter 'lrr'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct spec s;
        struct text err = {0};
        assert_false(spec_parse("x", rows[i].json, strlen(rows[i].json), &s, &err));
        assert_string_equal(text_get(&err), rows[i].sentence);
        text_finish(&err);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(what_is_written_reads_back),
            cmocka_unit_test(every_truncation_is_refused_in_one_sentence),
            cmocka_unit_test(other_formats_and_missing_fields_are_named),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
