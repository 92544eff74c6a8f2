/* The columns of results: documented, and in their order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/metric.h"
#include "reports/columns.h"
#include "reports/markdown.h"
#include "tests/helpers/scene.h"

static void every_column_is_documented(void **state) {
    (void)state;
    struct text doc = {0};
    text_add(&doc,
            "# Columns of `<matrix>_results.csv`\n\n"
            "One row per planned cell, those excluded or not yet run included. A "
            "value that is\nnot known is empty: never 0, never NaN. Numbers are raw: "
            "bytes, milliseconds,\nunrounded. A cell with repeats shows the median "
            "over those that count. Find columns\nby name: more may come, none goes. "
            "`batch` is empty where ranks share\n`global_batch`.\n\n"
            "A row that is not ok holds what its attempt still knew, such as "
            "`planned_bytes`:\nfilter on `status` = `ok` and an empty `stale` before "
            "computing with the metrics.\n");
    const int starts[] = {0, 3, 3 + PARAM_COUNT, 3 + PARAM_COUNT + metric_count};
    static const char *const titles[] = {
            "Identity", "Parameters", "Metrics", "The result itself"};
    for (int c = 0, part = 0; c < columns_count(); c++) {
        if (part < 4 && c == starts[part]) {
            text_addf(&doc,
                    "\n## %s\n\n| column | unit | meaning |\n|:---|:---|:---|\n",
                    titles[part++]);
        }
        assert_non_null(columns_help(c));
        assert_true(*columns_help(c));
        text_addf(&doc, "| `%s` | %s | ", columns_name(c), columns_unit(c));
        markdown_add_text(&doc, columns_help(c));
        text_add(&doc, " |\n");
        for (int other = 0; other < c; other++) {
            assert_string_not_equal(columns_name(c), columns_name(other));
        }
    }
    scene_golden("reports/COLUMNS.md", text_get(&doc));
    text_finish(&doc);
}

static void results_begin_with_identity_parameters_metrics(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    folder_ran(&s.folder, "a", "a", "batch=7", 100.25, MIB);
    scene_report(&s);
    char *text = scene_read(&s, "demo_results.csv");
    assert_int_equal(strncmp(text, "cell,hash,status,task,engine,device,arch,", 41), 0);
    assert_non_null(strstr(text, ",inject_phase,tokens_per_s,window_tokens,"));
    assert_non_null(strstr(text, "\na,"));
    assert_non_null(strstr(text, ",100.25,"));
    free(text);
    scene_close(&s);
}

static void a_shared_batch_leaves_that_of_a_rank_empty(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    folder_ran(&s.folder, "a", "a", "global_batch=6", 100.25, MIB);
    scene_report(&s);
    scene_says(&s, "demo_results.csv", ",batch,global_batch,");
    scene_says(&s, "demo_results.csv", ",,6,");
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_column_is_documented),
            cmocka_unit_test(results_begin_with_identity_parameters_metrics),
            cmocka_unit_test(a_shared_batch_leaves_that_of_a_rank_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
