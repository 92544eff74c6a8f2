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

static void reals_are_as_short_as_they_may_be(void **state) {
    (void)state;
    static const struct {
        double x;
        const char *shown;
    } rows[] = {{0, "0"}, {1000, "1000"}, {-3, "-3"}, {0.1, "0.1"}, {1e-5, "1e-5"},
            {0.30000000000000004, "0.30000000000000004"}, {1234.5, "1234.5"},
            {1e300, "1e300"}, {5e-324, "5e-324"}, {123456789012345, "123456789012345"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text t = {0};
        text_add_real(&t, rows[i].x);
        assert_string_equal(text_get(&t), rows[i].shown);
        assert_true(strtod(text_get(&t), NULL) == rows[i].x);
        text_finish(&t);
    }
}

static void bytes_that_are_not_utf8_are_replaced(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *clean;
    } rows[] = {{"abc", "abc"}, {"\xc3\xa4", "\xc3\xa4"},
            {"\xf0\x9f\x98\x80!", "\xf0\x9f\x98\x80!"}, {"\xff", "\xef\xbf\xbd"},
            {"\xc3", "\xef\xbf\xbd"}, {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
            {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
            {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text t = {0};
        text_add_utf8(&t, rows[i].bytes, strlen(rows[i].bytes));
        assert_string_equal(text_get(&t), rows[i].clean);
        text_finish(&t);
    }
    struct text t = {0};
    text_add_utf8(&t, "a\0b", 3);
    assert_string_equal(text_get(&t), "a\xef\xbf\xbd"
                                      "b");
    text_finish(&t);
}

static void quoted_words_fit_into_a_sentence(void **state) {
    (void)state;
    static const struct {
        const char *word, *quoted;
    } rows[] = {{"", "''"}, {"lr", "'lr'"}, {"a\nb\t", "'a?b?'"},
            {"\xff", "'\xef\xbf\xbd'"},
            {"123456789 123456789 123456789 123456789 123456789 123456789 ",
                    "'123456789 123456789 123456789 123456789 123456789 123456789 '"},
            {"123456789 123456789 123456789 123456789 123456789 123456789\xc3\xa4x",
                    "'123456789 123456789 123456789 123456789 123456789 "
                    "123456789\xc3\xa4…'"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text t = {0};
        text_add_quoted(&t, rows[i].word);
        assert_string_equal(text_get(&t), rows[i].quoted);
        text_finish(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(empty_text_reads_as_empty_string),
            cmocka_unit_test(additions_concatenate),
            cmocka_unit_test(failing_returns_false_and_leaves_one_sentence),
            cmocka_unit_test(taking_hands_over),
            cmocka_unit_test(reals_are_as_short_as_they_may_be),
            cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
            cmocka_unit_test(quoted_words_fit_into_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
