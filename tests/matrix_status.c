/* Statuses: every one has a name that reads back and a remedy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/status.h"

static void every_name_reads_back(void **state) {
    (void)state;
    for (int i = 0; i < STATUS_COUNT; i++) {
        enum status back = STATUS_COUNT;
        assert_true(status_parse(status_name((enum status)i), &back));
        assert_int_equal(back, i);
        assert_true(strlen(status_remedy((enum status)i)) > 0);
    }
}

static void names_are_those_of_the_contract(void **state) {
    (void)state;
    static const char *const names[STATUS_COUNT] = {"ok", "oom_device", "oom_host",
            "timeout", "hang", "crashed", "failed", "invalid", "unsupported",
            "preempted", "lost", "interrupted", "excluded", "not_run"};
    for (int i = 0; i < STATUS_COUNT; i++) {
        assert_string_equal(status_name((enum status)i), names[i]);
    }
}

static void unknown_name_leaves_the_output_alone(void **state) {
    (void)state;
    enum status back = STATUS_HANG;
    assert_false(status_parse("OK", &back));
    assert_false(status_parse("", &back));
    assert_int_equal(back, STATUS_HANG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_name_reads_back),
            cmocka_unit_test(names_are_those_of_the_contract),
            cmocka_unit_test(unknown_name_leaves_the_output_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
