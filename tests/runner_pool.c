/* Device slots, clocks and queue order: the arithmetic behind a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runner/clocks.h"
#include "runner/pool.h"
#include "runner/queue.h"

static void cells_get_disjoint_gpus_or_none(void **state) {
    (void)state;
    struct text err = {0}, shown = {0};
    struct pool p;
    struct pool_lease a, b, c;
    assert_true(pool_init(&p, 3, NULL, 4, &err));
    assert_true(pool_take(&p, 2, -1, &a));
    assert_false(pool_take(&p, 3, -1, &b));
    assert_false(b.held);
    assert_true(pool_take(&p, 2, -1, &b));
    pool_show(&a, &shown);
    text_add(&shown, " ");
    pool_show(&b, &shown);
    assert_string_equal(text_get(&shown), "0,1 2,3");
    pool_give_back(&p, &a);
    assert_true(pool_take(&p, 1, -1, &a));
    assert_int_equal(a.gpus[0], 0);
    assert_true(pool_take(&p, 0, -1, &c)); // the third place
    struct pool_lease d;
    assert_false(pool_take(&p, 0, -1, &d));
    pool_give_back(&p, &a);
    pool_give_back(&p, &b);
    pool_give_back(&p, &c);
    assert_int_equal(p.taken, 0);
    pool_finish(&p);
    text_finish(&shown);
}

static void devices_are_those_named(void **state) {
    (void)state;
    struct text err = {0};
    struct pool p;
    struct pool_lease a;
    const char *const named[] = {"3,1", NULL};
    assert_true(pool_init(&p, 1, named, 4, &err));
    assert_int_equal(p.gpu_count, 2);
    assert_true(pool_take(&p, 1, -1, &a));
    assert_int_equal(a.gpus[0], 3);
    pool_give_back(&p, &a);
    pool_finish(&p);
    static const char *const wrong[][2] = {
            {"4", NULL}, {"-1", NULL}, {"x", NULL}, {"1,1", NULL}, {"1,", NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(pool_init(&p, 1, wrong[i], 4, &err));
        assert_non_null(strstr(text_get(&err), "--devices: "));
        text_clear(&err);
    }
    text_finish(&err);
}

static void series_keeps_to_the_first_gpus(void **state) {
    (void)state;
    struct text err = {0};
    struct pool p;
    struct pool_lease a, b, c;
    const char *const named[] = {"2,0,3", NULL};
    assert_true(pool_init(&p, 3, named, 4, &err));
    assert_true(pool_take(&p, 1, 0, &a));
    assert_int_equal(a.gpus[0], 2); // the first that was named
    assert_false(pool_take(&p, 2, 0, &b));
    assert_true(pool_take(&p, 1, -1, &b));
    pool_give_back(&p, &a);
    assert_false(pool_take(&p, 2, 0, &c)); // two are idle, but not those two
    pool_give_back(&p, &b);
    assert_true(pool_take(&p, 2, 0, &c));
    assert_int_equal(c.gpus[0], 2);
    assert_int_equal(c.gpus[1], 0);
    pool_give_back(&p, &c);
    assert_false(pool_take(&p, 4, 0, &c)); // more than there are
    assert_true(pool_take(&p, 2, 1, &c));
    assert_int_equal(c.gpus[0], 0);
    assert_int_equal(c.gpus[1], 3);
    assert_false(pool_take(&p, 1, 2, &a)); // the first is idle, but not the third
    pool_give_back(&p, &c);
    assert_false(pool_take(&p, 2, 2, &c)); // more than there are from there on
    pool_finish(&p);
}

static void each_clock_strikes_in_its_phase_only(void **state) {
    (void)state;
    struct clocks c = {
            .start_ms = 100, .heartbeat_ms = 30, .timeout_ms = 1000, .began_ms = 5000};
    assert_int_equal(clocks_next_ms(&c, false, 5090), 5100);
    assert_int_equal(clocks_check(&c, false, 5000, 5099), CLOCKS_NONE);
    assert_int_equal(clocks_check(&c, false, 5099, 5100), CLOCKS_START);
    assert_int_equal(clocks_next_ms(&c, true, 5090), 5120);
    assert_int_equal(clocks_check(&c, true, 5090, 5119), CLOCKS_NONE);
    assert_int_equal(clocks_check(&c, true, 5090, 5120), CLOCKS_HEARTBEAT);
    assert_int_equal(clocks_next_ms(&c, true, 5999), 6000);
    assert_int_equal(clocks_check(&c, true, 5900, 6000), CLOCKS_TIMEOUT);
    c = (struct clocks){.began_ms = 5000};
    assert_true(clocks_next_ms(&c, false, 5000) == CLOCKS_NEVER);
    assert_int_equal(clocks_check(&c, true, 0, INT64_MAX - 1), CLOCKS_NONE);
}

/* The order in which `wanted` attempts of three cells are handed out. */
static void drain(const int wanted[3], const char *order) {
    struct queue_cell cells[3] = {0};
    struct queue q = {.cells = cells, .count = 3};
    struct text got = {0};
    for (int i = 0; i < 3; i++) {
        cells[i].left = wanted[i];
    }
    for (struct queue_cell *c; (c = queue_next(&q)); queue_done(c)) {
        text_addf(&got, "%c", 'a' + (int)(c - cells));
    }
    assert_true(queue_is_empty(&q));
    assert_string_equal(text_get(&got), order);
    text_finish(&got);
}

static void repeats_are_interleaved(void **state) {
    (void)state;
    drain((int[]){1, 1, 1}, "abc");
    drain((int[]){3, 3, 3}, "abcabcabc");
    drain((int[]){3, 1, 2}, "abcaca");
    drain((int[]){0, 0, 2}, "cc");
    drain((int[]){0, 0, 0}, "");
}

static void repeats_of_a_cell_never_overlap(void **state) {
    (void)state;
    struct queue_cell cells[2] = {{.left = 2}, {.left = 1}};
    struct queue q = {.cells = cells, .count = 2};
    struct queue_cell *a = queue_next(&q), *b = queue_next(&q);
    assert_ptr_equal(a, &cells[0]);
    assert_ptr_equal(b, &cells[1]);
    assert_null(queue_next(&q));
    assert_false(queue_is_empty(&q));
    queue_done(b);
    assert_null(queue_next(&q));
    queue_done(a);
    assert_ptr_equal(queue_next(&q), &cells[0]);
    assert_true(queue_is_empty(&q));
}

static void cell_that_was_put_back_comes_next(void **state) {
    (void)state;
    struct queue_cell cells[2] = {{.left = 1}, {.left = 1}};
    struct queue q = {.cells = cells, .count = 2};
    struct queue_cell *a = queue_next(&q);
    queue_put_back(&q, a);
    assert_ptr_equal(queue_next(&q), &cells[0]);
    assert_ptr_equal(queue_next(&q), &cells[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(cells_get_disjoint_gpus_or_none),
            cmocka_unit_test(devices_are_those_named),
            cmocka_unit_test(series_keeps_to_the_first_gpus),
            cmocka_unit_test(each_clock_strikes_in_its_phase_only),
            cmocka_unit_test(repeats_are_interleaved),
            cmocka_unit_test(repeats_of_a_cell_never_overlap),
            cmocka_unit_test(cell_that_was_put_back_comes_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
