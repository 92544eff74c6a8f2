/* What a rank's events leave behind: the rows of its all-reduce curve. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/curve.h"
#include "runner/rank.h"

#define HELLO "{\"event\":\"hello\",\"t_ms\":0,\"protocol\":1}\n"
#define ROW                                                                            \
    "{\"event\":\"allreduce\",\"t_ms\":5,\"bytes\":65536,\"ms_median\":0.5,"           \
    "\"ms_p10\":0.25,\"ms_p90\":1,\"bus_bytes_per_s\":131072000.0,\"other\":[]}\n"

/* A rank that has said `lines` at 100 ms. */
static struct rank say(const char *lines) {
    struct rank r = {.pipe_fd = -1,
            .write_fd = -1,
            .file_fd = -1,
            .output = OUTPUT_NONE,
            .first_step_ms = -1,
            .last_step = -1};
    rank_feed(&r, lines, strlen(lines), 100);
    return r;
}

static void rows_are_kept_and_count_as_steps(void **state) {
    (void)state;
    struct rank r = say(HELLO);
    assert_false(r.stepping);
    rank_feed(&r, ROW, strlen(ROW), 100);
    rank_feed(&r, ROW, strlen(ROW), 200);
    assert_null(r.garbage);
    assert_int_equal(json_array_size(r.allreduce), 2);
    char *row = json_dumps(json_array_get(r.allreduce, 1), JSON_COMPACT);
    assert_string_equal(row, "{\"bytes\":65536,\"ms_median\":0.5,\"ms_p10\":0.25,"
                             "\"ms_p90\":1.0,\"bus_bytes_per_s\":131072000.0}");
    free(row);
    assert_true(r.stepping);
    assert_int_equal(r.first_step_ms, 100);
    assert_int_equal(r.last_step, 2);
    rank_finish(&r);
}

static void what_is_no_row_is_garbage(void **state) {
    (void)state;
    struct rank r = say(HELLO "{\"event\":\"allreduce\",\"t_ms\":5,\"bytes\":65536}\n");
    assert_string_equal(r.garbage,
            "rank 0 wrote an event 'allreduce' with no positive 'ms_median'");
    assert_false(r.stepping);
    rank_finish(&r);
}

static void a_flood_of_rows_ends(void **state) {
    (void)state;
    struct rank r = say(HELLO);
    for (int i = 0; i < CURVE_ROWS_MAX; i++) {
        rank_feed(&r, ROW, strlen(ROW), 100);
    }
    assert_null(r.garbage);
    rank_feed(&r, ROW, strlen(ROW), 100);
    assert_string_equal(
            r.garbage, "rank 0 wrote more events 'allreduce' than there are sizes");
    assert_int_equal(json_array_size(r.allreduce), CURVE_ROWS_MAX);
    rank_finish(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(rows_are_kept_and_count_as_steps),
            cmocka_unit_test(what_is_no_row_is_garbage),
            cmocka_unit_test(a_flood_of_rows_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
