/* GPUs between cells: kept from the pool until their memory is back, by what a worker
 * tells that has no GPU. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runner/clocks.h"
#include "runner/reclaim.h"

#define WORKER "tests/helpers/worker_gpu"

static char *const bus_ids[] = {"0000:65:00.0", "0000:CA:00.0", NULL};
static char hold_path[] = "/tmp/reclaim-XXXXXX";

/* The next `readings` say that a device holds 1 GiB more. */
static void hold(int readings) {
    FILE *f = fopen(hold_path, "w");
    assert_non_null(f);
    fprintf(f, "%d\n", readings);
    fclose(f);
}

struct stage {
    struct reclaim reclaim;
    struct pool pool;
    struct pool_lease lease;
    int64_t *before_bytes;
    struct text said;
};

static struct stage *begin(const char *worker, int gpus) {
    struct text err = {0};
    struct stage *s = calloc(1, sizeof *s);
    int64_t missing;
    hold(0);
    reclaim_init(&s->reclaim, worker, bus_ids, 2);
    assert_true(pool_init(&s->pool, 2, NULL, 2, &err));
    assert_true(pool_take(&s->pool, gpus, -1, &s->lease));
    s->before_bytes = reclaim_before(&s->reclaim, &s->lease, &missing);
    assert_int_equal(missing, 0);
    return s;
}

/* The cell on the lease ends at time 0. */
static void end_cell(struct stage *s) {
    reclaim_wait(&s->reclaim, &s->pool, &s->lease, s->before_bytes, "some/cell", 0);
    assert_false(s->lease.held);
}

static int idle(const struct stage *s) {
    int count = 0;
    for (int i = 0; i < s->pool.gpu_count; i++) {
        count += !s->pool.busy[i];
    }
    return count;
}

static void end(struct stage *s) {
    reclaim_finish(&s->reclaim);
    pool_finish(&s->pool);
    text_finish(&s->said);
    free(s);
}

static void memory_that_is_back_costs_no_wait(void **state) {
    (void)state;
    struct stage *s = begin(WORKER, 2);
    assert_int_equal(s->before_bytes[0], 1000000);
    assert_int_equal(s->before_bytes[1], 1000000);
    end_cell(s);
    assert_int_equal(idle(s), 2);
    assert_true(reclaim_next_ms(&s->reclaim) == CLOCKS_NEVER);
    end(s);
}

static void gpus_are_kept_until_their_memory_is_back(void **state) {
    (void)state;
    struct stage *s = begin(WORKER, 1);
    hold(3);
    end_cell(s);
    assert_int_equal(idle(s), 1); // the other one is free all the while
    assert_int_equal(reclaim_next_ms(&s->reclaim), 5);
    reclaim_look(&s->reclaim, &s->pool, 4, &s->said); // not due: no reading
    reclaim_look(&s->reclaim, &s->pool, 5, &s->said);
    assert_int_equal(reclaim_next_ms(&s->reclaim), 15);
    reclaim_look(&s->reclaim, &s->pool, 15, &s->said);
    assert_int_equal(reclaim_next_ms(&s->reclaim), 35);
    assert_int_equal(idle(s), 1);
    reclaim_look(&s->reclaim, &s->pool, 35, &s->said);
    assert_int_equal(idle(s), 2);
    assert_int_equal(s->said.size, 0);
    end(s);
}

static void readings_become_rarer_and_end(void **state) {
    (void)state;
    struct stage *s = begin(WORKER, 1);
    int readings = 0;
    int64_t now_ms, before_ms = 0;
    hold(1000);
    end_cell(s);
    while ((now_ms = reclaim_next_ms(&s->reclaim)) != CLOCKS_NEVER) {
        assert_true(now_ms - before_ms <= RECLAIM_LAST_PAUSE_MS);
        before_ms = now_ms;
        reclaim_look(&s->reclaim, &s->pool, now_ms, &s->said);
        readings++;
    }
    assert_in_range(before_ms, RECLAIM_LIMIT_MS, RECLAIM_LIMIT_MS + 250);
    assert_in_range(readings, 40, 50);
    assert_int_equal(idle(s), 2);
    assert_string_equal(text_get(&s->said),
            "1024.0 MiB of GPU 0 are still in use 10 s after some/cell: going on\n");
    int64_t missing, *again;
    assert_true(pool_take(&s->pool, 1, -1, &s->lease));
    again = reclaim_before(&s->reclaim, &s->lease, &missing);
    assert_int_equal(missing, 1 << 30);
    // What was there before it, a cell need not give back.
    reclaim_wait(&s->reclaim, &s->pool, &s->lease, again, "next", before_ms);
    assert_int_equal(idle(s), 2);
    assert_true(pool_take(&s->pool, 1, -1, &s->lease));
    free(reclaim_before(&s->reclaim, &s->lease, &missing));
    assert_int_equal(missing, 0);
    pool_give_back(&s->pool, &s->lease);
    end(s);
}

static void what_nobody_tells_is_not_waited_for(void **state) {
    (void)state;
    static const char *const mute[] = {NULL, "/nonexistent", "/bin/true", "/bin/cat"};
    for (size_t i = 0; i < sizeof mute / sizeof *mute; i++) {
        struct stage *s = begin(mute[i], 1);
        assert_int_equal(s->before_bytes[0], GAUGE_UNKNOWN);
        hold(5);
        end_cell(s);
        assert_int_equal(idle(s), 2);
        end(s);
    }
}

static void cell_without_gpus_is_not_waited_for(void **state) {
    (void)state;
    struct stage *s = begin(WORKER, 0);
    assert_null(s->before_bytes);
    end_cell(s);
    assert_int_equal(s->pool.taken, 0);
    assert_int_equal(s->reclaim.gauge.child.pid, 0); // nobody was asked
    end(s);
}

static int set_up(void **state) {
    (void)state;
    int fd = mkstemp(hold_path);
    setenv("HOLD", hold_path, 1);
    signal(SIGPIPE, SIG_IGN);
    return fd < 0 || close(fd);
}

static int tear_down(void **state) {
    (void)state;
    return unlink(hold_path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(memory_that_is_back_costs_no_wait),
            cmocka_unit_test(gpus_are_kept_until_their_memory_is_back),
            cmocka_unit_test(readings_become_rarer_and_end),
            cmocka_unit_test(what_nobody_tells_is_not_waited_for),
            cmocka_unit_test(cell_without_gpus_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
