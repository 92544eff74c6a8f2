/* Batches that a probe trained with and the attempt itself did not, on records made
 * here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runner/refuted.h"

/* Take the record of an attempt with `batch`, whose probe ended as `probe`. */
static bool take(struct refuted *f, int batch, const char *probe, enum status status) {
    struct record r = {.status = status,
            .provenance = json_pack("{s:{s:i, s:[{s:i, s:s}]}}", "batch_search",
                    "batch", batch, "probes", "batch", batch, "status", probe)};
    bool refutes = refuted_take(f, &r);
    json_decref(r.provenance);
    return refutes;
}

static void margin_grows_with_each_attempt_and_three_more_are_made(void **state) {
    (void)state;
    static const int64_t most[] = {124, 109, 82};
    struct refuted f = {0};
    int64_t batch = 132;
    assert_int_equal(refuted_most(&f), 0);
    for (int i = 0; i < REFUTED_TRIES; i++) {
        assert_true(take(&f, (int)batch, "ok", STATUS_OOM_HOST));
        assert_true(refuted_goes_on(&f));
        batch = refuted_most(&f);
        assert_int_equal(batch, most[i]);
    }
    assert_true(take(&f, (int)batch, "ok", STATUS_OOM_DEVICE));
    assert_false(refuted_goes_on(&f));
}

static void below_batch_one_there_is_nothing(void **state) {
    (void)state;
    struct refuted f = {0};
    assert_true(take(&f, 2, "ok", STATUS_OOM_HOST));
    assert_true(refuted_goes_on(&f));
    assert_int_equal(refuted_most(&f), 1);
    assert_true(take(&f, 1, "ok", STATUS_OOM_HOST));
    assert_false(refuted_goes_on(&f));
}

static void batch_that_no_probe_trained_with_is_not_refuted(void **state) {
    (void)state;
    struct refuted f = {0};
    assert_false(take(&f, 1, "oom_host", STATUS_OOM_HOST));
    assert_false(take(&f, 8, "crashed", STATUS_CRASHED));
    assert_false(take(&f, 8, "ok", STATUS_TIMEOUT));
    struct record plain = {.status = STATUS_OOM_HOST};
    assert_false(refuted_take(&f, &plain));
    assert_int_equal(refuted_most(&f), 0);
}

static void lost_attempt_in_between_changes_nothing(void **state) {
    (void)state;
    struct refuted f = {0};
    take(&f, 132, "ok", STATUS_OOM_HOST);
    take(&f, 120, "ok", STATUS_INTERRUPTED);
    take(&f, 120, "ok", STATUS_LOST);
    take(&f, 120, "ok", STATUS_OOM_HOST);
    assert_int_equal(f.times, 2);
    assert_int_equal(f.batch, 120);
}

static void next_repeat_knows_what_was_refuted(void **state) {
    (void)state;
    struct refuted f = {0};
    take(&f, 132, "ok", STATUS_OOM_HOST);
    take(&f, 124, "ok", STATUS_OK);
    assert_int_equal(f.times, 0);
    assert_int_equal(refuted_most(&f), 124);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(margin_grows_with_each_attempt_and_three_more_are_made),
            cmocka_unit_test(below_batch_one_there_is_nothing),
            cmocka_unit_test(batch_that_no_probe_trained_with_is_not_refuted),
            cmocka_unit_test(lost_attempt_in_between_changes_nothing),
            cmocka_unit_test(next_repeat_knows_what_was_refuted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
