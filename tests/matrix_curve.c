/* The all-reduce curve: rows written and read back, what is no row refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "matrix/curve.h"

static void a_row_reads_back_as_it_was_written(void **state) {
    (void)state;
    struct curve_row row = {CURVE_MOST_BYTES, 3.25, 3.125, 0.1, 2.5e11}, again;
    struct text err = {0};
    json_t *object = curve_row_to_json(&row);
    char *bytes = json_dumps(object, JSON_COMPACT);
    assert_string_equal(bytes,
            "{\"bytes\":1073741824,\"ms_median\":3.25,\"ms_p10\":3.125,"
            "\"ms_p90\":0.10000000000000001,\"bus_bytes_per_s\":250000000000.0}");
    json_t *read = json_loads(bytes, 0, NULL);
    json_object_set_new(read, "event", json_string("allreduce"));
    assert_true(curve_row_from_json(read, &again, &err));
    assert_int_equal(again.bytes, row.bytes);
    assert_true(again.ms_median == row.ms_median && again.ms_p10 == row.ms_p10);
    assert_true(again.ms_p90 == row.ms_p90);
    assert_true(again.bus_bytes_per_s == row.bus_bytes_per_s);
    json_decref(read);
    json_decref(object);
    free(bytes);
}

static void what_is_no_row_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *field, *json, *sentence;
    } cases[] = {
            {"bytes", "0", "no positive 'bytes'"},
            {"bytes", "64.5", "no positive 'bytes'"},
            {"ms_median", "null", "no positive 'ms_median'"},
            {"ms_p10", "\"1\"", "no positive 'ms_p10'"},
            {"ms_p90", "-1", "no positive 'ms_p90'"},
            {"bus_bytes_per_s", "0.0", "no positive 'bus_bytes_per_s'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct curve_row row = {CURVE_LEAST_BYTES, 1, 1, 1, 1};
        struct text err = {0};
        json_t *object = curve_row_to_json(&row);
        json_object_set_new(object, cases[i].field,
                json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        assert_false(curve_row_from_json(object, &row, &err));
        assert_string_equal(text_get(&err), cases[i].sentence);
        json_decref(object);
        text_finish(&err);
    }
    struct curve_row row;
    struct text err = {0};
    json_t *list = json_array();
    assert_false(curve_row_from_json(list, &row, &err));
    assert_false(curve_row_from_json(NULL, &row, &err));
    json_decref(list);
    text_finish(&err);
}

static void the_bus_carries_what_a_ring_sends_over_each_link(void **state) {
    (void)state;
    // Each of 2 ranks sends half an array twice, each of 4 a quarter six times.
    assert_float_equal(curve_bus_bytes_per_s(1000000, 1, 2), 1e9, 1);
    assert_float_equal(curve_bus_bytes_per_s(1000000, 1, 4), 1.5e9, 1);
    assert_float_equal(curve_bus_bytes_per_s(1000000, 10, 8), 0.175e9, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(a_row_reads_back_as_it_was_written),
            cmocka_unit_test(what_is_no_row_is_refused_by_name),
            cmocka_unit_test(the_bus_carries_what_a_ring_sends_over_each_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
