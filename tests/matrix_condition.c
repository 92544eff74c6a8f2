/* Globs, conditions, the nearest name: the small matchers of selections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/arena.h"
#include "matrix/condition.h"
#include "matrix/glob.h"
#include "matrix/nearest.h"

static void globs_match_the_whole_text(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
            {"", "", true},
            {"", "a", false},
            {"a", "a", true},
            {"a", "ab", false},
            {"*", "", true},
            {"*", "abc", true},
            {"a*", "abc", true},
            {"*c", "abc", true},
            {"a*c", "abc", true},
            {"a*c", "abcd", false},
            {"a*b*c", "aXbYbZc", true},
            {"?", "a", true},
            {"?", "", false},
            {"??", "a", false},
            {"a?c", "abc", true},
            {"[abc]x", "bx", true},
            {"[a-c]x", "bx", true},
            {"[a-c]x", "dx", false},
            {"[!a-c]x", "dx", true},
            {"[!a-c]x", "ax", false},
            {"[]]", "]", true},
            {"[!]]", "]", false},
            {"[a-]", "-", true},
            {"[", "[", true},
            {"[a", "[a", true},
            {"[!", "[!", true},
            {"*[0-9]", "run7", true},
            {"*[0-9]", "run", false},
            {"a**b", "ab", true},
            {"*a*b", "aab", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (glob_matches(rows[i].pattern, rows[i].text) != rows[i].matches) {
            fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].text);
        }
    }
    assert_true(glob_is_pattern("a*"));
    assert_true(glob_is_pattern("[a"));
    assert_false(glob_is_pattern("a/b=1,c=2"));
}

static void a_glob_made_to_explode_ends(void **state) {
    (void)state;
    char pattern[401], text[20001];
    for (int i = 0; i < 400; i += 2) {
        memcpy(pattern + i, "a*", 2);
    }
    pattern[398] = 'b';
    pattern[399] = '\0';
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_false(glob_matches(pattern, text)); // the time limit is the test
}

static bool holds(const char *condition, const char *name, const char *value) {
    struct params p;
    struct condition c;
    struct text err = {0};
    enum param which;
    params_init(&p);
    assert_true(axes_find(name, &which));
    if (!params_set(&p, which, value, &err) ||
            !condition_parse_named(&c, condition, &err)) {
        fail_msg("%s", text_get(&err));
    }
    return condition_matches(&c, &p);
}

static void conditions_compare_by_type(void **state) {
    (void)state;
    static const struct {
        const char *condition, *name, *value;
        bool holds;
    } rows[] = {
            {"batch=16", "batch", "16", true},
            {"batch=16", "batch", "160", false},
            {"batch!=16", "batch", "17", true},
            {"batch<16", "batch", "9", true},
            {"batch<16", "batch", "16", false},
            {"batch<=16", "batch", "16", true},
            {"batch>16", "batch", "16", false},
            {"batch>16", "batch", "100", true},
            {"batch>=16", "batch", "16", true},
            {"batch>=16", "batch", "15", false},
            {"batch=max", "batch", "max", true},
            {"batch!=max", "batch", "max", false},
            {"batch>=1", "batch", "max", false},
            {"batch<=1", "batch", "max", false},
            {"batch!=1", "batch", "max", true},
            {"batch=1*", "batch", "16", true},
            {"lr=1e-3", "lr", "0.001", true},
            {"lr<0.01", "lr", "1e-3", true},
            {"lr>=0.01", "lr", "1e-3", false},
            {"precision=bf16", "precision", "bf16", true},
            {"precision!=bf16", "precision", "bf16", false},
            {"precision=?p*", "precision", "fp32", true},
            {"precision!=f*", "precision", "fp32", false},
            {"data=a.txt", "data", "a.txt", true},
            {"data=*.txt", "data", "a.txt", true},
            {"data!=*.txt", "data", "a.json", true},
            {"memory_limit>=1GiB", "memory_limit", "2048MiB", true},
            {"env={\"A\":\"*\"}", "env", "{\"A\":\"*\"}", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (holds(rows[i].condition, rows[i].name, rows[i].value) != rows[i].holds) {
            fail_msg("%s with %s", rows[i].condition, rows[i].value);
        }
    }
}

static void conditions_that_are_none_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *condition, *sentence;
    } rows[] = {
            {"", "found '', expected a comparison such as batch>=16"},
            {"batch", "found 'batch', expected a comparison such as batch>=16"},
            {"batch!3", "found 'batch!3', expected a comparison such as batch>=16"},
            {"=3", "found parameter '', expected a known one"},
            {"bach=3", "found parameter 'bach', expected a known one; did you mean "
                       "'batch'?"},
            {"batch=", "found batch '', expected an integer from 1 to 1048576, or max"},
            {"data<a", "found an order on data, expected = or !="},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct condition c;
        struct text err = {0};
        assert_false(condition_parse_named(&c, rows[i].condition, &err));
        assert_string_equal(text_get(&err), rows[i].sentence);
        text_finish(&err);
    }
}

static void the_nearest_name_is_found_and_far_ones_are_not_likely(void **state) {
    (void)state;
    static const struct {
        const char *wanted, *best;
        bool likely;
    } rows[] = {
            {"batch", "batch", true},
            {"bathc", "batch", true},
            {"BATCH", "batch", true},
            {"batches", "batch", true},
            {"kernl", "kernel", true},
            {"zzzzzzzz", "batch", false},
            {"", "batch", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct nearest n;
        nearest_init(&n, rows[i].wanted);
        assert_null(nearest_likely(&n));
        nearest_offer(&n, "batch");
        nearest_offer(&n, "kernel");
        assert_string_equal(n.best, rows[i].best);
        assert_int_equal(nearest_likely(&n) != NULL, rows[i].likely);
    }
    struct nearest order;
    nearest_init(&order, "e/lr=1,batch=2");
    nearest_offer(&order, "e/batch=2,lr=1");
    assert_int_equal(order.distance, 1);
    nearest_init(&order, "e/a,a,b");
    nearest_offer(&order, "e/b,b,a");
    assert_true(order.distance > 1);
    char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    struct nearest n;
    nearest_init(&n, longer);
    nearest_offer(&n, longer);
    assert_int_equal(n.distance, 0);
}

static void arena_keeps_what_it_gave(void **state) {
    (void)state;
    struct arena a = {0};
    const char *kept[1000];
    for (int i = 0; i < 1000; i++) {
        char word[32];
        memset(word, 'a' + i % 26, sizeof word);
        kept[i] = arena_copy_bytes(&a, word, (size_t)i % 32);
        char *large = arena_allocate(&a, (size_t)i * 100);
        for (int j = 0; j < i * 100; j++) {
            assert_int_equal(large[j], 0);
        }
        memset(large, 0xff, (size_t)i * 100);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(strlen(kept[i]), i % 32);
        assert_true(!*kept[i] || *kept[i] == 'a' + i % 26);
    }
    arena_finish(&a);
    arena_finish(&a);
    assert_null(a.chunks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(globs_match_the_whole_text),
            cmocka_unit_test(a_glob_made_to_explode_ends),
            cmocka_unit_test(conditions_compare_by_type),
            cmocka_unit_test(conditions_that_are_none_are_refused),
            cmocka_unit_test(the_nearest_name_is_found_and_far_ones_are_not_likely),
            cmocka_unit_test(arena_keeps_what_it_gave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
