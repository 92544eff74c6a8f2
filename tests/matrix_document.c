/* Matrix files that are wrong end in one sentence that says where and what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/document.h"
#include "matrix/tree.h"

#define ONE "experiments:\n- name: e\n"

struct row {
    const char *yaml, *sentence;
};

static void check(const char *yaml, size_t size, const char *sentence) {
    struct text err = {0};
    struct document *d = document_parse("m.yaml", yaml, size, &err);
    if (d) {
        fail_msg("accepted: %s", yaml);
    }
    assert_string_equal(text_get(&err), sentence);
    text_finish(&err);
}

static void check_all(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        check(rows[i].yaml, strlen(rows[i].yaml), rows[i].sentence);
    }
}

#define CHECK_ALL(rows) check_all(rows, sizeof(rows) / sizeof *(rows))

static void broken_yaml_is_one_sentence(void **state) {
    (void)state;
    static const struct row rows[] = {
            {"", "m.yaml:1:1: found an empty file, expected a map with 'experiments'"},
            {"# nothing\n", "m.yaml:1:1: found an empty file, expected a map with "
                            "'experiments'"},
            {"a: [1",
                    "m.yaml:2:1: found broken YAML: while parsing a flow sequence, did "
                    "not find expected ',' or ']', expected it well-formed"},
            {"a: b: c\n",
                    "m.yaml:1:5: found broken YAML: mapping values are not allowed "
                    "in this context, expected it well-formed"},
            {"\tx: 1\n", "m.yaml:1:1: found broken YAML: while scanning for the next "
                         "token, found character that cannot start any token, expected "
                         "it well-formed"},
            {"a: \xff\n",
                    "m.yaml: found what is not printable UTF-8 at byte 3, expected "
                    "YAML"},
            {"a: \"\\0\"\n",
                    "m.yaml:1:4: found a NUL in a text, expected printable text"},
            {ONE "---\n" ONE, "m.yaml:3:1: found a second document, expected one"},
            {"a: 1\nb: 2\na: 3\n", "m.yaml:3:1: found key 'a' again (first on line 1), "
                                   "expected each key "
                                   "once"},
            {"[a]: 1\n", "m.yaml:1:1: found a key that is no text, expected a name"},
            {"%YAML 1.1\n---\n" ONE,
                    "m.yaml:1:1: found a line that starts with '%', expected no YAML "
                    "directive"},
            {"# x\n%TAG !a! tag:b,2000:\n---\n" ONE,
                    "m.yaml:2:1: found a line that starts with '%', expected no YAML "
                    "directive"},
            {"a: !!int 1\n", "m.yaml:1:4: found a YAML tag, expected a plain value"},
            {"a: !x [1]\n", "m.yaml:1:4: found a YAML tag, expected a plain value"},
    };
    CHECK_ALL(rows);
}

static void aliases_and_merges_have_bounds(void **state) {
    (void)state;
    static const struct row rows[] = {
            {"a: &x 1\nb: *y\n", "m.yaml:2:4: found alias 'y', expected an anchor that "
                                 "stands before "
                                 "it"},
            {"a: &base 1\nb: *bsae\n",
                    "m.yaml:2:4: found alias 'bsae', expected an anchor that stands "
                    "before it; did you mean 'base'?"},
            {"a: &x [*x]\n",
                    "m.yaml:1:8: found an alias inside its own anchor, expected no "
                    "cycle"},
            {"a: &x {<<: *x}\n",
                    "m.yaml:1:12: found an alias inside its own anchor, expected no "
                    "cycle"},
            {"a: &x 1\nb: {<<: *x}\n",
                    "m.yaml:1:4: found a merge of what is no map, expected a map or "
                    "several"},
            {"a: &x {c: 1}\nb: {<<: *x, <<: *x}\n",
                    "m.yaml:2:13: found key '<<' again, expected one, with a list of "
                    "maps"},
    };
    CHECK_ALL(rows);
}

static void deep_nesting_is_refused(void **state) {
    (void)state;
    struct text yaml = {0};
    for (int i = 0; i < 100000; i++) {
        text_add(&yaml, "[");
    }
    check(yaml.data, yaml.size,
            "m.yaml:1:65: found lists and maps nested more than 64 deep, expected "
            "fewer");
    text_clear(&yaml);
    for (int i = 0; i < 100; i++) {
        text_addf(&yaml, "%*sa:\n", i, "");
    }
    check(yaml.data, yaml.size,
            "m.yaml:65:65: found lists and maps nested more than 64 deep, expected "
            "fewer");
    text_finish(&yaml);
}

static void large_files_are_refused(void **state) {
    (void)state;
    struct text yaml = {0};
    while (yaml.size <= TREE_MAX_BYTES) {
        text_add(&yaml, "# 456789 123456789 123456789 123456789 123456789 12345678\n");
    }
    struct text sentence = {0};
    text_addf(
            &sentence, "m.yaml: found %zu bytes, expected at most 1048576", yaml.size);
    check(yaml.data, yaml.size, text_get(&sentence));
    text_finish(&yaml);
    text_finish(&sentence);
}

/* a: doubles at every level; followed blindly it would be 2^60 values. */
static void bombs_of_aliases_are_refused_at_once(void **state) {
    (void)state;
    struct text yaml = {0};
    text_add(&yaml, "defaults:\n  data: &a0 [x, y]\n");
    for (int i = 1; i < 60; i++) {
        text_addf(&yaml, "  k%d: &a%d [*a%d, *a%d]\n", i, i, i - 1, i - 1);
    }
    text_add(&yaml, ONE "  axes: {data: *a59}\n");
    check(yaml.data, yaml.size, "m.yaml:3:3: found 'k1', expected a parameter");
    text_clear(&yaml);
    text_add(&yaml, "defaults: &a0 {lr: 1}\nexperiments:\n");
    for (int i = 1; i < 250; i++) {
        text_addf(&yaml, "- &a%d {name: e%d, <<: [", i, i);
        for (int j = 0; j < 400; j++) {
            text_addf(&yaml, "%s*a%d", j ? ", " : "", i - 1);
        }
        text_add(&yaml, "]}\n");
    }
    struct text err = {0};
    assert_null(document_parse("m.yaml", yaml.data, yaml.size, &err));
    assert_non_null(strstr(text_get(&err), "found merges without end, expected a few"));
    text_clear(&err);
    text_clear(&yaml);
    text_add(&yaml, ONE "  axes:\n    data: &a [");
    for (int i = 0; i < 2000; i++) {
        text_addf(&yaml, "%sx%d", i ? ", " : "", i);
    }
    text_add(&yaml, "]\n- name: f\n  axes:\n    data: [");
    for (int i = 0; i < 600; i++) {
        text_addf(&yaml, "%s*a", i ? ", " : "");
    }
    text_add(&yaml, "]\n");
    assert_null(document_parse("m.yaml", yaml.data, yaml.size, &err));
    assert_non_null(strstr(text_get(&err), "found "));
    text_finish(&err);
    text_finish(&yaml);
}

static void hostile_sizes_are_refused(void **state) {
    (void)state;
    struct text yaml = {0}, err = {0};
    for (int i = 0; i < 2000; i++) {
        text_addf(&yaml, "k%d: 1\n", i);
    }
    check(yaml.data, yaml.size,
            "m.yaml:1001:1: found more than 1000 keys in a map, expected fewer");
    text_clear(&yaml);
    for (int i = 0; i < 300; i++) {
        text_addf(&yaml, "k%d: &a%d 1\n", i, i);
    }
    check(yaml.data, yaml.size,
            "m.yaml:257:7: found more than 256 anchors, expected fewer");
    text_clear(&yaml);
    text_add(&yaml, "experiments:\n- &e {name: e, axes: {lr: &l [");
    for (int i = 0; i < 10000; i++) {
        text_addf(&yaml, "%d, ", i % 9);
    }
    text_add(&yaml, "]}}\n");
    for (int i = 0; i < 200; i++) {
        text_addf(&yaml, "- {name: e%d, axes: {lr: *l}}\n", i);
    }
    assert_null(document_parse("m.yaml", yaml.data, yaml.size, &err));
    assert_non_null(
            strstr(text_get(&err), "found more than 1000000 values, expected fewer"));
    text_finish(&yaml);
    text_finish(&err);
}

static void unknown_words_name_the_nearest(void **state) {
    (void)state;
    static const struct row rows[] = {
            {"experimnts: []\n",
                    "m.yaml:1:1: found 'experimnts', expected description, baseline, "
                    "manual, defaults or experiments; did you mean 'experiments'?"},
            {"lr: 1\n", "m.yaml:1:1: found 'lr', expected it under 'defaults' or in an "
                        "experiment"},
            {"defaults: {lrr: 1}\n" ONE, "m.yaml:1:12: found 'lrr', expected a "
                                         "parameter; did you mean 'lr'?"},
            {ONE "  seqlen: 4\n",
                    "m.yaml:3:3: found 'seqlen', expected a parameter or a key of an "
                    "experiment; did you mean 'seq_len'?"},
            {ONE "  axis: {lr: [1]}\n",
                    "m.yaml:3:3: found 'axis', expected a parameter or a key of an "
                    "experiment; did you mean 'axes'?"},
            {ONE "  kernel: flsh\n",
                    "m.yaml:3:11: found kernel 'flsh', expected naive, fused, flash or "
                    "cudnn; did you mean 'flash'?"},
            {ONE "  axes: {kernl: [naive]}\n",
                    "m.yaml:3:10: found 'kernl', expected a parameter; did you mean "
                    "'kernel'?"},
            {ONE "  include: [{batc: 1}]\n",
                    "m.yaml:3:14: found 'batc', expected a parameter; did you mean "
                    "'batch'?"},
            {ONE "  exclude: [{when: {batc: 1}, because: x}]\n",
                    "m.yaml:3:21: found 'batc', expected a parameter; did you mean "
                    "'batch'?"},
            {ONE "  exclude: [{whn: {batch: 1}, because: x}]\n",
                    "m.yaml:3:14: found 'whn', expected 'when' or 'because'; did you "
                    "mean "
                    "'when'?"},
            {ONE "  expect: crash\n",
                    "m.yaml:3:11: found 'crash', expected a status: ok, oom_device, "
                    "oom_host, timeout, hang, crashed, failed, invalid, unsupported, "
                    "preempted, lost, interrupted; did you mean 'crashed'?"},
    };
    CHECK_ALL(rows);
}

static void values_of_the_wrong_kind_are_named(void **state) {
    (void)state;
    static const struct row rows[] = {
            {"- 1\n", "m.yaml:1:1: found a list, expected a map with 'experiments'"},
            {"description: x\n",
                    "m.yaml:1:1: found no 'experiments', expected a list of them"},
            {"experiments:\n", "m.yaml:1:13: found nothing, expected a list of "
                               "experiments"},
            {"experiments: []\n", "m.yaml:1:14: found an empty list, expected at least "
                                  "one experiment"},
            {"experiments: [x]\n", "m.yaml:1:15: found 'x', expected a map with 'name' "
                                   "and parameters"},
            {"experiments: [{lr: 1}]\n",
                    "m.yaml:1:15: found an experiment without 'name', expected one"},
            {"experiments: [{name: a/b}]\n",
                    "m.yaml:1:22: found 'a/b', expected a name of up to 64 letters, "
                    "digits, '_', '.' and '-'"},
            {"experiments: [{name: ..}]\n",
                    "m.yaml:1:22: found '..', expected a name of up to 64 letters, "
                    "digits, '_', '.' and '-'"},
            {ONE ONE, "m.yaml:3:1: found key 'experiments' again (first on line 1), "
                      "expected each key once"},
            {ONE "- name: e\n", "m.yaml:3:3: found experiment 'e' again (first on line "
                                "2), expected "
                                "each name once"},
            {"manual: yes\n" ONE, "m.yaml:1:9: found 'yes', expected true or false"},
            {"baseline: [a]\n" ONE, "m.yaml:1:11: found a list, expected an experiment "
                                    "with one cell, or "
                                    "a cell id"},
            {"description: {}\n" ONE, "m.yaml:1:14: found a map, expected a text"},
            {"defaults: 3\n" ONE,
                    "m.yaml:1:11: found '3', expected a map of parameters"},
            {ONE "  lr:\n",
                    "m.yaml:3:6: found nothing for lr, expected a number from 0 "
                    "to 1000"},
            {ONE "  lr: ''\n",
                    "m.yaml:3:7: found lr '', expected a number from 0 to 1000"},
            {ONE "  lr: [1]\n",
                    "m.yaml:3:7: found a list for lr, expected a number from "
                    "0 to 1000"},
            {ONE "  layers: 0\n", "m.yaml:3:11: found layers '0', expected an integer "
                                  "from 1 to 1000"},
            {ONE "  graph: yes\n",
                    "m.yaml:3:10: found graph 'yes', expected off or on"},
            {ONE "  env: [A]\n",
                    "m.yaml:3:8: found a list, expected a map from variable "
                    "names to texts"},
            {ONE "  env: {A: [1]}\n", "m.yaml:3:12: found a list, expected a text"},
            {ONE "  env: {LM_RANK: 1}\n",
                    "m.yaml:3:8: found the variable 'LM_RANK' in env, expected names "
                    "that do not start with LM_, which are the runner's own"},
            {ONE "  data: ['a,b']\n", "m.yaml:3:10: found 'a,b', expected a file, glob "
                                      "or folder without a "
                                      "comma"},
            {ONE "  data: []\n",
                    "m.yaml:3:9: found a list, expected at least one file"},
            {ONE "  tags: {a: 1}\n",
                    "m.yaml:3:9: found a map, expected a list of tags"},
            {ONE "  tags: [a b]\n",
                    "m.yaml:3:10: found 'a b', expected a name of up to 64 letters, "
                    "digits, '_', '.' and '-'"},
    };
    CHECK_ALL(rows);
}

static void axes_that_contradict_are_refused(void **state) {
    (void)state;
    static const struct row rows[] = {
            {ONE "  axes: [1]\n", "m.yaml:3:9: found a list, expected a map from "
                                  "parameters to lists of "
                                  "values"},
            {ONE "  axes: {lr: 1}\n",
                    "m.yaml:3:14: found '1', expected a list of values"},
            {ONE "  axes: {lr: []}\n", "m.yaml:3:14: found an empty list, expected at "
                                       "least one value"},
            {ONE "  axes: {lr: [1, x]}\n",
                    "m.yaml:3:18: found lr 'x', expected a number from 0 to 1000"},
            {ONE "  lr: 1\n  axes: {lr: [1]}\n",
                    "m.yaml:4:10: found 'lr', expected each parameter once in an "
                    "experiment, its axes and its zips"},
            {ONE "  axes: {lr: [1]}\n  zip: [{lr: [2]}]\n",
                    "m.yaml:4:10: found 'lr', expected each parameter once in an "
                    "experiment, its axes and its zips"},
            {ONE "  zip: [{lr: [1]}, {lr: [2]}]\n",
                    "m.yaml:3:21: found 'lr', expected each parameter once in an "
                    "experiment, its axes and its zips"},
            {ONE "  zip: {lr: [1]}\n",
                    "m.yaml:3:8: found a map, expected a list of groups"},
            {ONE "  zip: [1]\n",
                    "m.yaml:3:9: found '1', expected a map from parameters "
                    "to lists of equal length"},
            {ONE "  zip: [{}]\n", "m.yaml:3:9: found an empty map, expected lists of "
                                  "equal length"},
            {ONE "  zip: [{layers: [1, 2], heads: [1]}]\n",
                    "m.yaml:3:26: found 1 values for heads, expected 2 as for layers, "
                    "which it is zipped with"},
            {ONE "  axes: {timeout_s: [1, 2]}\n",
                    "m.yaml:3:10: found 'timeout_s', expected a parameter that changes "
                    "the cell; clocks and repeats stand fixed in the experiment"},
            {ONE "  include: [{repeats: 3}]\n",
                    "m.yaml:3:14: found 'repeats', expected a parameter that changes "
                    "the "
                    "cell; clocks and repeats stand fixed in the experiment"},
            {ONE "  include: 1\n", "m.yaml:3:12: found '1', expected a list of maps of "
                                   "parameters"},
            {ONE "  include: [1]\n",
                    "m.yaml:3:13: found '1', expected a map of parameters"},
    };
    CHECK_ALL(rows);
}

static void excludes_that_say_nothing_are_refused(void **state) {
    (void)state;
    static const struct row rows[] = {
            {ONE "  exclude: {}\n", "m.yaml:3:12: found a map, expected a list of maps "
                                    "with 'when' and 'because'"},
            {ONE "  exclude: [1]\n",
                    "m.yaml:3:13: found '1', expected a map with 'when' and 'because'"},
            {ONE "  exclude: [{when: {lr: 1}}]\n",
                    "m.yaml:3:13: found an exclude without 'because', expected its "
                    "reason"},
            {ONE "  exclude: [{because: x}]\n",
                    "m.yaml:3:13: found an exclude without 'when', expected a map of "
                    "conditions"},
            {ONE "  exclude: [{when: {lr: 1}, because: ''}]\n",
                    "m.yaml:3:38: found '', expected the reason, as text"},
            {ONE "  exclude: [{when: [1], because: x}]\n",
                    "m.yaml:3:20: found a list, expected a map from parameters to "
                    "values"},
            {ONE "  exclude: [{when: {}, because: x}]\n",
                    "m.yaml:3:20: found an empty map, expected at least one condition"},
            {ONE "  exclude: [{when: {lr: []}, because: x}]\n",
                    "m.yaml:3:25: found an empty list, expected at least one value"},
            {ONE "  exclude: [{when: {lr: {}}, because: x}]\n",
                    "m.yaml:3:25: found a map, expected a value or a comparison such "
                    "as "
                    "'>=32'"},
            {ONE "  exclude: [{when: {lr: '>=x'}, because: x}]\n",
                    "m.yaml:3:25: found lr 'x', expected a number from 0 to 1000"},
            {ONE "  exclude: [{when: {kernel: '<flash'}, because: x}]\n",
                    "m.yaml:3:29: found an order on kernel, expected = or !="},
            {ONE "  exclude: [{when: {lr: '>='}, because: x}]\n",
                    "m.yaml:3:25: found lr '', expected a number from 0 to 1000"},
    };
    CHECK_ALL(rows);
}

static void file_names_become_matrix_names(void **state) {
    (void)state;
    static const struct {
        const char *path, *name;
    } rows[] = {{"a/b/smoke.yaml", "smoke"}, {"x.yml", "x"}, {"x.y.yaml", "x.y"},
            {"plain", "plain"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text err = {0};
        struct document *d = document_parse(rows[i].path, ONE, strlen(ONE), &err);
        assert_non_null(d);
        assert_string_equal(document_name(d), rows[i].name);
        assert_string_equal(document_path(d), rows[i].path);
        assert_string_equal(document_description(d), "");
        assert_string_equal(document_baseline(d), "");
        assert_false(document_manual(d));
        document_destroy(d);
    }
    struct text err = {0};
    assert_null(document_parse("a/..yaml", ONE, strlen(ONE), &err));
    assert_string_equal(text_get(&err), "a/..yaml: found file name '.', expected up to "
                                        "64 letters, digits, '_', '.' "
                                        "and '-' before .yaml");
    text_clear(&err);
    assert_null(document_read("/nonexistent.yaml", &err));
    assert_string_equal(text_get(&err),
            "cannot open '/nonexistent.yaml': No such file or directory");
    text_clear(&err);
    assert_null(document_read("/tmp", &err));
    assert_string_equal(text_get(&err), "cannot read '/tmp': not a regular file");
    text_finish(&err);
    document_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(broken_yaml_is_one_sentence),
            cmocka_unit_test(aliases_and_merges_have_bounds),
            cmocka_unit_test(deep_nesting_is_refused),
            cmocka_unit_test(large_files_are_refused),
            cmocka_unit_test(bombs_of_aliases_are_refused_at_once),
            cmocka_unit_test(hostile_sizes_are_refused),
            cmocka_unit_test(unknown_words_name_the_nearest),
            cmocka_unit_test(values_of_the_wrong_kind_are_named),
            cmocka_unit_test(axes_that_contradict_are_refused),
            cmocka_unit_test(excludes_that_say_nothing_are_refused),
            cmocka_unit_test(file_names_become_matrix_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
