/* record.json: written and read back, damaged and refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "matrix/curve.h"
#include "matrix/file.h"
#include "matrix/record.h"

static char folder[] = "/tmp/lm-record-XXXXXX";
static char path[64];

static int make_folder(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/record.json", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void write_one(void) {
    struct record_rank ranks[] = {
            {.rank = 0,
                    .pid = 10,
                    .exit_code = -1,
                    .signal = 9,
                    .collateral = true,
                    .phase = "measure",
                    .last_step = 7,
                    .max_rss_bytes = 1 << 20,
                    .user_ms = 3,
                    .system_ms = 4},
            {.rank = 1, .pid = 11, .exit_code = -1, .signal = 11, .last_step = -1},
    };
    struct record r = {.matrix = "faults",
            .cell = "segv/ranks=2",
            .hash = "0123456789ab",
            .attempt = 2,
            .status = STATUS_CRASHED,
            .expect = STATUS_CRASHED,
            .started_unix_ms = 1700000000000,
            .ended_unix_ms = 1700000000500,
            .wall_ms = 500,
            .guilty_rank = 1,
            .exit_code = -1,
            .signal = 11,
            .phase = "measure",
            .last_step = 7,
            .error = "rank 1 was ended by signal 11",
            .bytes_asked = -1,
            .bytes_free = -1,
            .predicted = true,
            .stderr_tail = "a\n\xff tail\n",
            .leaked = 1,
            .ranks = ranks,
            .rank_count = 2};
    r.metrics = json_pack("{s:f, s:n}", "tokens_per_s", 1234.5, "val_loss");
    r.provenance = json_pack("{s:s}", "host", "here");
    r.profiler = "nsys";
    r.profile = "profile.nsys-rep";
    r.ops = json_pack("{s:i, s:[{s:s}]}", "steps", 3, "ops", "op", "clip");
    struct curve_row row = {65536, 0.5, 0.25, 0.75, 131072000};
    r.allreduce = json_pack("[o]", curve_row_to_json(&row));
    params_init(&r.params);
    struct text err = {0};
    assert_true(params_set(&r.params, PARAM_INJECT, "segv", &err));
    assert_true(record_write(path, &r, &err));
    json_decref(r.metrics);
    json_decref(r.provenance);
    json_decref(r.ops);
    json_decref(r.allreduce);
}

static void what_is_written_reads_back(void **state) {
    (void)state;
    write_one();
    struct record r;
    struct text err = {0};
    assert_true(record_read(path, &r, &err));
    assert_string_equal(r.matrix, "faults");
    assert_string_equal(r.cell, "segv/ranks=2");
    assert_string_equal(r.hash, "0123456789ab");
    assert_int_equal(r.attempt, 2);
    assert_int_equal(r.status, STATUS_CRASHED);
    assert_int_equal(r.expect, STATUS_CRASHED);
    assert_int_equal(r.started_unix_ms, 1700000000000);
    assert_int_equal(r.ended_unix_ms, 1700000000500);
    assert_int_equal(r.wall_ms, 500);
    assert_int_equal(r.guilty_rank, 1);
    assert_int_equal(r.exit_code, -1);
    assert_int_equal(r.signal, 11);
    assert_string_equal(r.phase, "measure");
    assert_int_equal(r.last_step, 7);
    assert_string_equal(r.error, "rank 1 was ended by signal 11");
    assert_int_equal(r.bytes_asked, -1);
    assert_true(r.predicted);
    assert_string_equal(r.stderr_tail, "a\n\xef\xbf\xbd tail\n");
    assert_int_equal(r.leaked, 1);
    assert_int_equal(r.rank_count, 2);
    assert_true(r.ranks[0].collateral);
    assert_int_equal(r.ranks[0].signal, 9);
    assert_int_equal(r.ranks[0].max_rss_bytes, 1 << 20);
    assert_int_equal(r.ranks[0].user_ms, 3);
    assert_int_equal(r.ranks[0].system_ms, 4);
    assert_string_equal(r.ranks[0].phase, "measure");
    assert_int_equal(r.ranks[1].pid, 11);
    assert_int_equal(r.ranks[1].last_step, -1);
    assert_string_equal(r.ranks[1].phase, "");
    assert_true(record_metric(&r, "tokens_per_s") == 1234.5);
    assert_true(isnan(record_metric(&r, "val_loss")));
    assert_true(isnan(record_metric(&r, "val_ppl")));
    assert_int_equal(json_array_size(r.memory), 0);
    assert_string_equal(
            json_string_value(json_object_get(r.provenance, "host")), "here");
    assert_int_equal(params_integer(&r.params, PARAM_INJECT), INJECT_SEGV);
    assert_string_equal(r.profiler, "nsys");
    assert_string_equal(r.profile, "profile.nsys-rep");
    assert_int_equal(json_integer_value(json_object_get(r.ops, "steps")), 3);
    assert_int_equal(json_array_size(json_object_get(r.ops, "ops")), 1);
    struct curve_row row;
    assert_int_equal(json_array_size(r.allreduce), 1);
    assert_true(curve_row_from_json(json_array_get(r.allreduce, 0), &row, &err));
    assert_int_equal(row.bytes, 65536);
    assert_true(row.ms_median == 0.5 && row.bus_bytes_per_s == 131072000);
    record_finish(&r);
    record_finish(&r);
}

static void every_truncation_is_refused_in_one_sentence(void **state) {
    (void)state;
    write_one();
    struct text bytes = {0}, err = {0};
    assert_true(file_read(path, 1 << 20, &bytes, &err));
    for (size_t size = 0; size + 2 < bytes.size; size++) {
        struct record r;
        assert_false(record_parse("record.json", bytes.data, size, &r, &err));
        assert_true(err.size > 0);
        assert_null(r.matrix);
        text_clear(&err);
    }
    text_finish(&bytes);
    text_finish(&err);
}

/* One field of a good record replaced by bad JSON of its own. */
static void damaged_fields_are_named(void **state) {
    (void)state;
    static const struct {
        const char *field, *json, *sentence;
    } rows[] = {
            {"format", "2", "x: found format 2, expected 1"},
            {"status", "\"excluded\"",
                    "x: found no valid 'status', expected a status of an attempt"},
            {"status", "\"fine\"", "x: found no valid 'status', expected a status"},
            {"hash", "\"0123456789AB\"", "x: found no valid 'hash', expected a hash"},
            {"attempt", "0",
                    "x: found no valid 'attempt', expected an integer in range"},
            {"attempt", "1.5", "x: found no valid 'attempt', expected an integer"},
            {"predicted", "0", "x: found no valid 'predicted', expected a boolean"},
            {"allreduce", "{}", "x: found no valid 'allreduce', expected a list"},
            {"ranks", "{}", "x: found no valid 'ranks', expected a list"},
            {"ranks", "[1]", "x: found a rank that is no object"},
            {"ranks", "[{}]", "x: found no valid 'rank', expected an integer"},
            {"metrics", "[]", "x: found no valid 'metrics', expected an object"},
            {"metrics", "{\"val_loss\": \"1\"}",
                    "x: found metric 'val_loss' that is no number"},
            {"params", "{\"layers\": 0}",
                    "x: found layers '0', expected an integer from 1 to 1000"},
    };
    write_one();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct record r;
        struct text err = {0};
        json_t *root = json_load_file(path, 0, NULL);
        json_object_set_new(
                root, rows[i].field, json_loads(rows[i].json, JSON_DECODE_ANY, NULL));
        char *bytes = json_dumps(root, 0);
        assert_false(record_parse("x", bytes, strlen(bytes), &r, &err));
        assert_string_equal(text_get(&err), rows[i].sentence);
        free(bytes);
        json_decref(root);
        text_finish(&err);
    }
}

static void a_missing_record_is_one_sentence(void **state) {
    (void)state;
    struct record r;
    struct text err = {0};
    assert_false(record_read("/nonexistent/record.json", &r, &err));
    assert_string_equal(text_get(&err),
            "cannot open '/nonexistent/record.json': No such file or directory");
    text_finish(&err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(what_is_written_reads_back),
            cmocka_unit_test(every_truncation_is_refused_in_one_sentence),
            cmocka_unit_test(damaged_fields_are_named),
            cmocka_unit_test(a_missing_record_is_one_sentence),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
