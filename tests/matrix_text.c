/* Growable text: what is added is there, NUL-terminated, whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/text.h"

static void empty_text_reads_as_empty_string(void **state) {
    (void)state;
    struct text t = {0};
    assert_string_equal(text_get(&t), "");
    text_finish(&t);
}

static void additions_concatenate(void **state) {
    (void)state;
    struct text t = {0};
    for (int i = 0; i < 1000; i++) {
        text_addf(&t, "%d,", i);
    }
    assert_int_equal(t.size, strlen(t.data));
    assert_int_equal(strncmp(t.data, "0,1,2,", 6), 0);
    assert_string_equal(t.data + t.size - 4, "999,");
    text_finish(&t);
    assert_null(t.data);
}

static void failing_returns_false_and_leaves_one_sentence(void **state) {
    (void)state;
    struct text err = {0};
    assert_false(text_fail(&err, "cannot open '%s'", "x"));
    assert_string_equal(text_get(&err), "cannot open 'x'");
    text_finish(&err);
}

static void taking_hands_over(void **state) {
    (void)state;
    struct text t = {0};
    char *s = text_take(&t);
    assert_string_equal(s, "");
    free(s);
    text_add(&t, "abc");
    s = text_take(&t);
    assert_string_equal(s, "abc");
    assert_null(t.data);
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(empty_text_reads_as_empty_string),
            cmocka_unit_test(additions_concatenate),
            cmocka_unit_test(failing_returns_false_and_leaves_one_sentence),
            cmocka_unit_test(taking_hands_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
