/* One table in all formats: CSV raw, Markdown and terminal for people. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reports/csv.h"
#include "reports/markdown.h"
#include "reports/plain.h"
#include "reports/table.h"

static void assert_text(struct text *t, const char *expected) {
    assert_string_equal(text_get(t), expected);
    text_finish(t);
}

static struct table sample(void) {
    struct table t = {0};
    table_add_code(&t, "cell", "technique");
    table_add_text(&t, "cause", "cause");
    table_add_number(&t, "peak_bytes", "peak memory", HUMAN_BYTES);
    table_add_number(&t, "tokens_per_s", "tokens/s", HUMAN_SHORT);
    table_add_number(&t, "never", "never known", HUMAN_REAL);
    table_row(&t);
    table_put_text(&t, "a|b`c");
    table_put_text(&t, "a, \"b\"\nand <c> | *d*");
    table_put_number(&t, 3 * 1048576.0);
    table_put_spread(&t, 12345.5, 1.25);
    table_mark_best(&t);
    table_row(&t);
    table_put_text(&t, "zweite/größe=ä");
    table_put_text(&t, NULL);
    table_put_number(&t, NAN);
    return t;
}

static void csv_is_raw_and_quoted_after_rfc_4180(void **state) {
    (void)state;
    struct table t = sample();
    struct text out = {0};
    csv_add_table(&out, &t);
    assert_text(&out, "cell,cause,peak_bytes,tokens_per_s,never\n"
                      "a|b`c,\"a, \"\"b\"\"\nand <c> | *d*\",3145728,12345.5,\n"
                      "zweite/größe=ä,,,,\n");
    table_finish(&t);
}

static void csv_numbers_read_back_as_the_same_double(void **state) {
    (void)state;
    const double values[] = {0.1, 1.0 / 3, 1e300, 5e-324, -2.5, 123456789012345.0,
            9007199254740993.0, -0.0};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct text out = {0};
        csv_add_number(&out, true, values[i]);
        assert_true(strtod(text_get(&out), NULL) == values[i]);
        text_finish(&out);
    }
    struct text out = {0};
    csv_add_number(&out, true, 0.1);
    csv_add_number(&out, false, NAN);
    csv_add_number(&out, false, -INFINITY);
    csv_add_number(&out, false, 124475904);
    assert_text(&out, "0.1,,,124475904");
}

static void markdown_escapes_names_and_drops_empty_columns(void **state) {
    (void)state;
    struct table t = sample();
    struct text out = {0};
    markdown_add_table(&out, &t, 10, "x.csv");
    assert_text(&out, "| technique | cause | peak memory | tokens/s |\n"
                      "|:---|:---|---:|---:|\n"
                      "| ``a\\|b`c`` | a, \"b\" and \\<c\\> \\| \\*d\\* | 3.00 MiB | "
                      "**12.3k ± 1.2 %** |\n"
                      "| `zweite/größe=ä` |  |  |  |\n\n");
    table_finish(&t);
}

static void repeats_that_agree_are_told_from_a_single_attempt(void **state) {
    (void)state;
    struct table t = {0};
    table_add_number(&t, "n", "n", HUMAN_COUNT);
    static const double spreads[] = {0, 0.04, 0.05, NAN};
    for (size_t i = 0; i < 4; i++) {
        table_row(&t);
        table_put_spread(&t, 7, spreads[i]);
    }
    struct text out = {0};
    markdown_add_table(&out, &t, 10, "x.csv");
    assert_text(&out, "| n |\n|---:|\n| 7 ± 0.0 % |\n| 7 ± 0.0 % |\n| 7 ± 0.1 % |\n| 7 "
                      "|\n\n");
    table_finish(&t);
}

static void long_tables_say_where_the_rest_is(void **state) {
    (void)state;
    struct table t = sample();
    struct text out = {0};
    markdown_add_table(&out, &t, 1, "x.csv");
    assert_non_null(strstr(text_get(&out), "… and 1 more row; all 2 are in `x.csv`."));
    assert_null(strstr(text_get(&out), "zweite"));
    text_clear(&out);
    plain_add_table(&out, &t, 1, "x.csv");
    assert_non_null(strstr(text_get(&out), "… and 1 more row: see x.csv"));
    text_finish(&out);
    table_finish(&t);
}

static void terminal_aligns_letters_beyond_ascii(void **state) {
    (void)state;
    struct table t = {0};
    table_add_code(&t, "cell", "cell");
    table_add_number(&t, "n", "n", HUMAN_COUNT);
    table_row(&t);
    table_put_text(&t, "ää");
    table_put_number(&t, 1);
    table_row(&t);
    table_put_text(&t, "bbbb\033[31m");
    table_put_number(&t, 1000);
    struct text out = {0};
    plain_add_table(&out, &t, 10, "x.csv");
    assert_text(&out, "cell           n\n"
                      "ää             1\n"
                      "bbbb?[31m  1,000\n");
    table_finish(&t);
}

static void columns_reach_only_their_audience(void **state) {
    (void)state;
    struct table t = {0};
    table_add_text(&t, "raw", "raw");
    table_show_last(&t, TABLE_CSV_ONLY);
    table_add_text(&t, "words", "words");
    table_show_last(&t, TABLE_PEOPLE_ONLY);
    table_right_last(&t);
    table_row(&t);
    table_put_text(&t, "1");
    table_put_text(&t, "one");
    struct text out = {0};
    csv_add_table(&out, &t);
    markdown_add_table(&out, &t, 10, "x.csv");
    assert_text(&out, "raw\n1\n| words |\n|---:|\n| one |\n\n");
    table_finish(&t);
}

static void code_spans_and_blocks_outlast_backticks(void **state) {
    (void)state;
    struct text out = {0};
    markdown_add_code(&out, "`x`|");
    text_add(&out, "\n");
    markdown_add_block(&out, "sh", "a\n```\nb\033");
    assert_text(&out, "`` `x`| ``\n````sh\na\n```\nb\n````\n\n");
}

static void prose_cannot_smuggle_markup(void **state) {
    (void)state;
    struct text out = {0};
    markdown_add_text(&out, "[x](y) <b> oom_host _em_ #1\r\n\\");
    assert_text(&out, "\\[x\\](y) \\<b\\> oom_host \\_em\\_ \\#1  \\\\");
}

static void many_rows_keep_their_values(void **state) {
    (void)state;
    struct table t = {0};
    table_add_number(&t, "i", "i", HUMAN_COUNT);
    table_add_text(&t, "s", "s");
    for (int i = 0; i < 1000; i++) {
        char s[16];
        snprintf(s, sizeof s, "row %d", i);
        table_row(&t);
        table_put_number(&t, i);
        table_put_text(&t, s);
    }
    assert_int_equal(t.row_count, 1000);
    assert_true(table_at(&t, 517, 0)->number == 517);
    assert_string_equal(table_at(&t, 999, 1)->text, "row 999");
    table_finish(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(csv_is_raw_and_quoted_after_rfc_4180),
            cmocka_unit_test(csv_numbers_read_back_as_the_same_double),
            cmocka_unit_test(markdown_escapes_names_and_drops_empty_columns),
            cmocka_unit_test(repeats_that_agree_are_told_from_a_single_attempt),
            cmocka_unit_test(long_tables_say_where_the_rest_is),
            cmocka_unit_test(terminal_aligns_letters_beyond_ascii),
            cmocka_unit_test(columns_reach_only_their_audience),
            cmocka_unit_test(code_spans_and_blocks_outlast_backticks),
            cmocka_unit_test(prose_cannot_smuggle_markup),
            cmocka_unit_test(many_rows_keep_their_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
