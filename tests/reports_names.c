/* Enumerations that stay readable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "reports/names.h"

static void names_beyond_the_most_are_counted(void **state) {
    (void)state;
    static const char *const expected[] = {
            "", "0", "0, 1", "0, 1 and 1 more", "0, 1 and 2 more"};
    for (int count = 0; count < 5; count++) {
        struct text out = {0};
        struct names names = {.out = &out, .most = 2};
        for (int i = 0; i < count; i++) {
            if (names_next(&names)) {
                text_addf(&out, "%d", i);
            }
        }
        names_finish(&names);
        assert_string_equal(text_get(&out), expected[count]);
        assert_int_equal(names.count, count);
        text_finish(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(names_beyond_the_most_are_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
