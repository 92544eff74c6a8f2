/* plan.json and the results folder: what is written reads back, damage is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "matrix/file.h"
#include "matrix/results.h"

static char folder[] = "/tmp/lm-plan-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *path_of(const char *name) {
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char yaml[] =
        "description: Which?\n"
        "baseline: e/lr=2\n"
        "experiments:\n"
        "- name: d\n"
        "  axes: {window: [0, 64]}\n"
        "- name: e\n"
        "  tags: [x, y]\n"
        "  expect: hang\n"
        "  axes: {lr: [1, 2, 0.1]}\n"
        "  exclude: [{when: {lr: 1}, because: \"too \\\"hot\\\"\"}]\n";

static struct plan make_plan(const char *const *set) {
    struct text err = {0};
    struct cells cells;
    struct plan plan;
    struct selection selection = {.set = set};
    struct document *d = document_parse("x/m.yaml", yaml, strlen(yaml), &err);
    assert_non_null(d);
    assert_true(cells_expand(&d, 1, &selection, &cells, &err));
    plan_init(&plan, d, &cells, "runner x/m.yaml");
    cells_finish(&cells);
    document_destroy(d);
    return plan;
}

static void assert_same_cells(const struct cells *a, const struct cells *b) {
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct cell *x = &a->items[i], *y = &b->items[i];
        assert_string_equal(x->matrix, y->matrix);
        assert_string_equal(x->experiment, y->experiment);
        assert_string_equal(x->id, y->id);
        assert_string_equal(x->hash, y->hash);
        assert_string_equal(x->tags, y->tags);
        assert_int_equal(x->expect, y->expect);
        assert_int_equal(x->from_set, y->from_set);
        assert_int_equal(x->excluded != NULL, y->excluded != NULL);
        if (x->excluded) {
            assert_string_equal(x->excluded, y->excluded);
        }
        assert_memory_equal(&x->params, &y->params, sizeof x->params);
    }
}

static void what_is_written_reads_back(void **state) {
    (void)state;
    struct plan plan = make_plan(NULL), back;
    struct text err = {0};
    assert_int_equal(plan.cells.count, 5);
    assert_non_null(plan.cells.items[1].excluded); // a window as long as the sequence
    assert_non_null(plan.cells.items[2].excluded);
    assert_true(plan_write(path_of("plan.json"), &plan, &err));
    assert_true(plan_read(path_of("plan.json"), &back, &err));
    assert_string_equal(back.matrix, "m");
    assert_string_equal(back.description, "Which?");
    assert_string_equal(back.baseline, "e/lr=2");
    assert_string_equal(back.source, "x/m.yaml");
    assert_int_equal(back.command_count, 1);
    assert_string_equal(back.commands[0], "runner x/m.yaml");
    assert_same_cells(&plan.cells, &back.cells);
    plan_finish(&plan);
    plan_finish(&back);
    plan_finish(&back);
}

static void only_what_is_selected_is_printed(void **state) {
    (void)state;
    struct plan plan = make_plan(NULL);
    plan.cells.items[0].selected = false;
    plan.cells.items[2].selected = false;
    for (int selected_only = 0; selected_only < 2; selected_only++) {
        json_t *root = plan_to_json(&plan, selected_only);
        json_t *cells = json_object_get(root, "cells");
        json_t *excluded = json_object_get(root, "excluded");
        assert_int_equal(json_array_size(cells), selected_only ? 2 : 3);
        assert_int_equal(json_array_size(excluded), selected_only ? 1 : 2);
        json_decref(root);
    }
    plan_finish(&plan);
}

static void a_folder_that_cannot_be_made_says_why(void **state) {
    (void)state;
    struct text err = {0};
    assert_int_equal(symlink("nowhere", path_of("dangling")), 0);
    assert_false(file_make_folders(path_of("dangling/below"), &err));
    assert_non_null(strstr(text_get(&err), "dangling': File exists"));
    assert_int_equal(unlink(path_of("dangling")), 0);
    text_finish(&err);
    assert_true(file_make_folders(path_of("a/b"), &err));
    assert_true(file_make_folders(path_of("a/b"), &err)); // it may be there
}

static void an_experiment_as_baseline_is_resolved_to_its_cell(void **state) {
    (void)state;
    static const char text[] =
            "baseline: e\nexperiments: [{name: e, axes: {lr: [2]}}]\n";
    struct text err = {0};
    struct cells cells;
    struct plan plan;
    struct document *d = document_parse("m.yaml", text, strlen(text), &err);
    assert_true(cells_expand(&d, 1, NULL, &cells, &err));
    plan_init(&plan, d, &cells, "");
    assert_string_equal(plan.baseline, "e/lr=2");
    plan_finish(&plan);
    cells_finish(&cells);
    document_destroy(d);
}

static void every_truncation_is_refused_in_one_sentence(void **state) {
    (void)state;
    struct plan plan = make_plan(NULL);
    struct text bytes = {0}, err = {0};
    assert_true(plan_write(path_of("plan.json"), &plan, &err));
    assert_true(file_read(path_of("plan.json"), 1 << 20, &bytes, &err));
    plan_finish(&plan);
    for (size_t size = 0; size + 2 < bytes.size; size++) {
        assert_false(plan_parse("plan.json", bytes.data, size, &plan, &err));
        assert_true(err.size > 0);
        assert_null(plan.matrix);
        text_clear(&err);
    }
    text_finish(&bytes);
    text_finish(&err);
}

static void damaged_plans_are_named(void **state) {
    (void)state;
    static const struct {
        const char *json, *sentence;
    } rows[] = {
            {"{}", "x: found no valid 'format', expected an integer"},
            {"{\"format\": 7}", "x: found format 7, expected 1"},
            {"{\"format\": 1, \"matrix\": \"m\", \"description\": \"\", \"baseline\": "
             "\"\", \"source\": \"\", \"command\": \"\", \"cells\": {}, \"excluded\": "
             "[]}",
                    "x: found no valid 'cells', expected a list"},
            {"{\"format\": 1, \"matrix\": \"m\", \"description\": \"\", \"baseline\": "
             "\"\", \"source\": \"\", \"command\": \"\", \"cells\": [1], \"excluded\": "
             "[]}",
                    "x: found a cell that is no object"},
            {"{\"format\": 1, \"matrix\": \"m\", \"description\": \"\", \"baseline\": "
             "\"\", \"source\": \"\", \"command\": \"\", \"cells\": [{}], "
             "\"excluded\": "
             "[]}",
                    "x: found no valid 'cell', expected a text"},
            {"{\"format\": 1, \"matrix\": \"m\", \"description\": \"\", \"baseline\": "
             "\"\", \"source\": \"\", \"commands\": [\"r\", 1], \"cells\": [], "
             "\"excluded\": []}",
                    "x: found a command that is no text"},
            {"{\"format\": 1, \"matrix\": \"m\", \"description\": \"\", \"baseline\": "
             "\"\", \"source\": \"\", \"commands\": \"r\", \"cells\": [], "
             "\"excluded\": []}",
                    "x: found no valid 'commands', expected a list"},
            {"{\"format\": 1, \"matrix\": \"m\", \"description\": \"\", \"baseline\": "
             "\"\", \"source\": \"\", \"cells\": [], \"excluded\": []}",
                    "x: found no valid 'command', expected a text"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct plan plan;
        struct text err = {0};
        assert_false(plan_parse("x", rows[i].json, strlen(rows[i].json), &plan, &err));
        assert_string_equal(text_get(&err), rows[i].sentence);
        text_finish(&err);
    }
}

static void cells_of_an_earlier_set_stay_in_the_plan(void **state) {
    (void)state;
    static const char *const set[] = {"steps=9", NULL};
    struct plan old = make_plan(set), now = make_plan(NULL);
    size_t own = now.cells.count;
    plan_merge(&now, &old);
    assert_int_equal(now.cells.count, own + old.cells.count);
    assert_string_equal(now.cells.items[own].id, "d/window=0,steps=9");
    assert_true(now.cells.items[own].from_set);
    plan_merge(&now, &old); // a second time adds nothing
    assert_int_equal(now.cells.count, own + old.cells.count);
    // Cells that the file once had are not kept.
    struct plan gone = make_plan(NULL);
    gone.cells.items[3].id = "e/lr=7";
    plan_merge(&now, &gone);
    assert_int_equal(now.cells.count, own + old.cells.count);
    plan_finish(&old);
    plan_finish(&now);
    plan_finish(&gone);
}

static struct plan make_commanded(const char *commands) {
    struct text json = {0}, err = {0};
    struct plan plan;
    text_addf(&json,
            "{\"format\": 1, \"matrix\": \"m\", \"description\": \"\", "
            "\"baseline\": \"\", \"source\": \"\", %s, \"cells\": [], "
            "\"excluded\": []}",
            commands);
    assert_true(plan_parse("x", text_get(&json), json.size, &plan, &err));
    text_finish(&json);
    return plan;
}

static void every_command_that_filled_a_folder_is_kept_once(void **state) {
    (void)state;
    struct text err = {0};
    // What was written before there could be several.
    struct plan old = make_commanded("\"command\": \"runner a\"");
    struct plan now = make_commanded("\"commands\": [\"runner b\"]");
    struct plan again = make_commanded("\"commands\": [\"runner a\"]"), back;
    assert_int_equal(old.command_count, 1);
    plan_merge(&now, &old);
    plan_merge(&again, &now);
    assert_true(plan_write(path_of("plan.json"), &again, &err));
    assert_true(plan_read(path_of("plan.json"), &back, &err));
    assert_int_equal(back.command_count, 2);
    assert_string_equal(back.commands[0], "runner a");
    assert_string_equal(back.commands[1], "runner b");
    plan_finish(&old);
    plan_finish(&now);
    plan_finish(&again);
    plan_finish(&back);
    struct plan none = make_commanded("\"command\": \"\"");
    assert_int_equal(none.command_count, 0);
    plan_finish(&none);
}

static void set_brings_an_excluded_cell_into_the_plan(void **state) {
    (void)state;
    static const char *const set[] = {"lr=1", NULL};
    struct plan old = make_plan(set), now = make_plan(NULL);
    size_t own = now.cells.count;
    assert_non_null(now.cells.items[2].excluded);
    plan_merge(&now, &old);
    assert_string_equal(now.cells.items[2].id, "e/lr=1");
    assert_null(now.cells.items[2].excluded);
    assert_true(now.cells.items[2].from_set);
    assert_int_equal(now.cells.count, own + 2); // d/lr=1 and d/window=64,lr=1
    plan_finish(&old);
    plan_finish(&now);
}

static void write_record(const struct cell *cell, int attempt, const char *id) {
    struct text where = {0}, err = {0};
    results_cell_folder(folder, cell->id, cell->hash, &where);
    text_addf(&where, "/attempt-%d", attempt);
    assert_true(file_make_folders(text_get(&where), &err));
    text_add(&where, "/record.json");
    struct record r = {.matrix = "m",
            .cell = (char *)id,
            .attempt = attempt,
            .status = STATUS_OK,
            .params = cell->params};
    memcpy(r.hash, cell->hash, sizeof r.hash);
    assert_true(record_write(text_get(&where), &r, &err));
    text_finish(&where);
}

static void attempts_are_read_in_order_and_damage_is_kept(void **state) {
    (void)state;
    struct plan plan = make_plan(NULL);
    struct text err = {0}, where = {0};
    assert_true(plan_write(path_of("plan.json"), &plan, &err));
    const struct cell *cell = &plan.cells.items[3];
    write_record(cell, 10, cell->id);
    write_record(cell, 2, cell->id);
    write_record(cell, 3, "another");
    results_cell_folder(folder, cell->id, cell->hash, &where);
    size_t base = where.size;
    static const char *const others[] = {"/attempt-4", "/attempt-05", "/attempt-x",
            "/attempt-99999999999", "/notes"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        where.size = base;
        text_add(&where, others[i]);
        assert_int_equal(mkdir(text_get(&where), 0777), 0);
    }
    where.size = base;
    text_add(&where, "/attempt-5");
    assert_int_equal(mkdir(text_get(&where), 0777), 0);
    text_add(&where, "/record.json");
    assert_true(file_write(text_get(&where), "{\"format\": 1", 12, &err));

    struct results r;
    assert_true(results_read(folder, &r, &err));
    assert_int_equal(r.count, plan.cells.count);
    assert_int_equal(r.cells[0].attempt_count, 0);
    const struct result_cell *c = &r.cells[3];
    assert_string_equal(c->cell->id, "e/lr=2");
    assert_int_equal(c->attempt_count, 5);
    static const int numbers[] = {2, 3, 4, 5, 10};
    static const bool recorded[] = {true, true, false, true, true};
    static const bool damaged[] = {false, true, false, true, false};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(c->attempts[i].number, numbers[i]);
        assert_int_equal(c->attempts[i].recorded, recorded[i]);
        assert_int_equal(c->attempts[i].damage != NULL, damaged[i]);
    }
    assert_int_equal(c->attempts[4].record.attempt, 10);
    assert_non_null(strstr(c->attempts[1].damage, "found the record of attempt 3 of "
                                                  "'another'"));
    results_finish(&r);
    results_finish(&r);
    plan_finish(&plan);
    text_finish(&where);
}

static void a_folder_without_a_plan_is_one_sentence(void **state) {
    (void)state;
    struct results r;
    struct text err = {0};
    assert_false(results_read("/nonexistent", &r, &err));
    assert_string_equal(text_get(&err),
            "cannot open '/nonexistent/plan.json': No such file or directory");
    assert_null(r.folder);
    text_finish(&err);
}

static void cell_folders_are_safe_and_short(void **state) {
    (void)state;
    struct text path = {0};
    results_cell_folder("r/m", "e/data=../a b\"*,env={}", "0123456789ab", &path);
    assert_string_equal(
            text_get(&path), "r/m/cells/e_data=.._a_b__,env=__-0123456789ab");
    text_clear(&path);
    char id[1000];
    memset(id, 'x', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    results_cell_folder("r", id, "0123456789ab", &path);
    assert_true(strlen(strrchr(text_get(&path), '/') + 1) < 200);
    text_finish(&path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(a_folder_that_cannot_be_made_says_why),
            cmocka_unit_test(what_is_written_reads_back),
            cmocka_unit_test(only_what_is_selected_is_printed),
            cmocka_unit_test(an_experiment_as_baseline_is_resolved_to_its_cell),
            cmocka_unit_test(every_truncation_is_refused_in_one_sentence),
            cmocka_unit_test(damaged_plans_are_named),
            cmocka_unit_test(cells_of_an_earlier_set_stay_in_the_plan),
            cmocka_unit_test(every_command_that_filled_a_folder_is_kept_once),
            cmocka_unit_test(set_brings_an_excluded_cell_into_the_plan),
            cmocka_unit_test(attempts_are_read_in_order_and_damage_is_kept),
            cmocka_unit_test(a_folder_without_a_plan_is_one_sentence),
            cmocka_unit_test(cell_folders_are_safe_and_short),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
