/* Forecasts from a folder's records: where they start, and how far off they are. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/curve.h"
#include "reports/outlook_json.h"
#include "reports/outlook_markdown.h"
#include "tests/helpers/scene.h"

static const int asked[] = {2, 4};

/* Forecasts from a folder; what is asked may be changed before look(). */
struct view {
    struct folder folder;
    struct outlook_question question;
    struct tallies tallies;
    const struct tallies *all; /* what the outlook is made from: those */
    struct outlook outlook;
};

static void begin(struct view *v) {
    *v = (struct view){.question = {.ranks = asked,
                               .rank_count = 2,
                               .links = {.link_bytes_per_s = NAN,
                                       .network_bytes_per_s = NAN,
                                       .hop_ms = 0.005,
                                       .network_hop_ms = 0.01,
                                       .per_node = 8}}};
    folder_init(&v->folder, "demo", "", "");
}

static void look(struct view *v) {
    folder_seal(&v->folder);
    tallies_init(&v->tallies, &v->folder.results);
    v->all = &v->tallies;
    outlook_init(&v->outlook, &v->all, 1, &v->question);
}

static void end(struct view *v) {
    outlook_finish(&v->outlook);
    tallies_finish(&v->tallies);
    folder_finish(&v->folder);
}

static void page_says(const struct view *v, const char *words) {
    struct text page = {0};
    outlook_markdown_add(&page, &v->outlook);
    if (!strstr(text_get(&page), words)) {
        fail_msg("the page does not say '%s':\n%s", words, text_get(&page));
    }
    text_finish(&page);
}

static void page_is_silent(const struct view *v, const char *words) {
    struct text page = {0};
    outlook_markdown_add(&page, &v->outlook);
    if (strstr(text_get(&page), words)) {
        fail_msg("the page says '%s':\n%s", words, text_get(&page));
    }
    text_finish(&page);
}

static void assert_near(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-9 * fmax(1, fabs(expected)))) {
        fail_msg("found %.12g, expected %.12g", found, expected);
    }
}

// Phases that come to half the step: instruments see less than is there.
static struct record *add(struct folder *f, const char *id, const char *settings,
        double step_ms, double exposed_ms) {
    struct record *r = folder_ran(f, "x", id, settings, 1e6 / step_ms, MIB);
    folder_metric(r, "step_ms_median", step_ms);
    folder_metric(r, "forward_ms", 3);
    folder_metric(r, "backward_ms", 5);
    folder_metric(r, "optimizer_ms", 2);
    folder_metric(r, "comm_exposed_ms", exposed_ms);
    folder_metric(r, "params", 25e6);
    folder_metric(r, "grads_bytes", 1e8);
    folder_metric(r, "params_bytes", 1e8);
    return r;
}

// 100 MB take `ms` between two ranks, and 1 MB a hundredth.
static void add_curve(
        struct folder *f, const char *id, const char *settings, double ms) {
    struct record *r = folder_ran(f, "curve", id, settings, NAN, NAN);
    r->allreduce = json_array();
    for (int i = 0; i < 2; i++) {
        double took = i ? ms : ms / 100;
        struct curve_row row = {.bytes = i ? 100000000 : 1000000,
                .ms_median = took,
                .ms_p10 = took,
                .ms_p90 = took,
                .bus_bytes_per_s = 1e9};
        json_array_append_new(r->allreduce, curve_row_to_json(&row));
    }
}

static void errors_are_held_against_what_was_measured(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "one", "threads=1", 20, 0);
    add(&v.folder, "two", "threads=1 ranks=2 ddp=flat", 24, 2);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    look(&v);
    assert_int_equal(v.outlook.base_count, 1);
    assert_int_equal(v.outlook.row_count, 2);
    const struct outlook_row *r = v.outlook.rows;
    assert_int_equal(r->ranks, 2);
    assert_string_equal(r->measured->cell->id, "two");
    assert_string_equal(r->curve->tally->cell->id, "curve");
    assert_near(r->ring.forward_ms, 6); // scaled to the step
    assert_near(r->ring.step_ms, 22);
    assert_near(r->error_pct, 100 * (22.0 / 24 - 1));
    assert_near(r->tokens_per_s, 2 * 1e6 / 22);
    assert_int_equal(v.outlook.rows[1].ranks, 4);
    assert_null(v.outlook.rows[1].measured);
    // Three times the hops and steps of 50 MB: by the curve at 50 MB, less its hops.
    double like = 2 * pow(0.01, 1 - log(50) / log(100));
    assert_near(v.outlook.rows[1].ring.exposed_ms, 0.06 + 3 * (like - 0.02));
    assert_near(outlook_errors(&v.outlook).maximum, 100 * (1 - 22.0 / 24));
    assert_int_equal(v.outlook.bases[0].fitted, 0);
    end(&v);
}

// Of two cores.
static void ranks_that_share_cores_are_no_evidence(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "one", "threads=1", 20, 0);
    add(&v.folder, "two", "threads=1 ranks=2 ddp=flat", 24, 2);
    add(&v.folder, "four", "threads=1 ranks=4 ddp=flat", 60, 2);
    add(&v.folder, "alone", "threads=2 ranks=2 ddp=flat", 50, 2);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    look(&v);
    assert_int_equal(v.outlook.base_count, 1);
    assert_int_equal(v.outlook.row_count, 2);
    const struct outlook_row *four = v.outlook.rows + 1;
    assert_string_equal(four->measured->cell->id, "four");
    assert_true(isnan(four->error_pct));
    assert_int_equal(outlook_errors(&v.outlook).count, 1);
    page_says(
            &v, "In 1 measured row ranks had more threads than the machine has cores");
    page_says(&v, "alone: its threads took turns");
    end(&v);
}

static void rows_that_all_share_cores_prove_nothing(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "one", "threads=1", 20, 0);
    add(&v.folder, "four", "threads=1 ranks=4 ddp=flat", 60, 2);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2 threads=1", 2);
    look(&v);
    assert_int_equal(outlook_errors(&v.outlook).count, 0);
    page_says(&v, "No other row was measured on several ranks");
    end(&v);
}

static void what_was_measured_ran_on_one_host(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    v.question.links.per_node = 1;
    add(&v.folder, "one", "threads=1", 20, 0);
    add(&v.folder, "two", "threads=1 ranks=2 ddp=flat", 24, 2);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    look(&v);
    const struct outlook_row *r = v.outlook.rows;
    assert_int_equal(r->ranks, 2);
    assert_int_equal(r->nodes, 1);
    assert_near(r->ring.step_ms, 22);
    assert_int_equal(r[1].nodes, 4); // nobody has tried that
    end(&v);
}

static void forecasts_start_from_the_first_gpu(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "second", "threads=1 first_gpu=1", 22, 0);
    add(&v.folder, "one", "threads=1", 20, 0);
    add(&v.folder, "two", "threads=1 ranks=2 ddp=flat", 24, 2);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    look(&v);
    assert_int_equal(v.outlook.base_count, 1);
    assert_string_equal(v.outlook.bases->tally->cell->id, "one");
    assert_string_equal(v.outlook.rows->measured->cell->id, "two");
    page_says(&v, "second: it starts from the first GPU's, 'one'");
    end(&v);
}

static void the_slowdown_is_fitted_to_measured_backwards(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "one", "threads=1", 20, 0);
    struct record *r = add(
            &v.folder, "two", "threads=1 ranks=2 ddp=bucketed bucket_mb=10", 22, 0.2);
    folder_metric(r, "backward_ms", 5.25);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    look(&v);
    assert_int_equal(v.outlook.bases[0].fitted, 1);
    assert_true(v.outlook.bases[0].slowdown > 0.3 && v.outlook.bases[0].slowdown < 0.6);
    assert_near(v.outlook.rows[0].ring.backward_ms, 10.5);
    page_says(&v, "fitted to 1 measured backward.");
    page_says(&v, "they are no independent proof");
    end(&v);
}

static void the_curve_most_alike_is_taken(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "one", "threads=1", 20, 0);
    add_curve(&v.folder, "torch", "task=allreduce ranks=2 engine=torch", 9);
    add_curve(&v.folder, "low", "task=allreduce ranks=2 precision=bf16", 9);
    add_curve(&v.folder, "two", "task=allreduce ranks=2", 2);
    add_curve(&v.folder, "four", "task=allreduce ranks=4", 3);
    add_curve(&v.folder, "eight", "task=allreduce ranks=8", 9);
    look(&v);
    assert_int_equal(v.outlook.curve_count, 5);
    assert_int_equal(v.outlook.row_count, 8); // four wrappers, since none was run
    for (size_t i = 0; i < v.outlook.row_count; i++) {
        assert_string_equal(v.outlook.rows[i].curve->tally->cell->id,
                v.outlook.rows[i].ranks == 2 ? "two" : "four");
    }
    end(&v);
}

static void every_curve_that_rows_use_is_named(void **state) {
    (void)state;
    static const int more[] = {2, 4, 8, 16};
    struct view v;
    begin(&v);
    v.question.ranks = more;
    v.question.rank_count = 4;
    v.question.links.per_node = 16;
    add(&v.folder, "one", "threads=1", 20, 0);
    add_curve(&v.folder, "two", "task=allreduce ranks=2", 2);
    add_curve(&v.folder, "four", "task=allreduce ranks=4", 3);
    add_curve(&v.folder, "eight", "task=allreduce ranks=8", 4);
    look(&v);
    page_says(&v, "All-reduces: on 2 ranks the curve of `two` (");
    page_says(&v, "; on 4 ranks the curve of `four` (4 ranks");
    page_says(&v, "; on 8, 16 ranks the curve of `eight` (8");
    page_is_silent(&v, "Beside backward");
    end(&v);
}

/* A series whose one-rank cell is another experiment's, too. */
static void what_was_measured_stands_by_the_equal_cell_that_is_asked_about(
        void **state) {
    (void)state;
    struct view v;
    begin(&v);
    v.question.links.link_bytes_per_s = 1e12;
    v.question.selected_only = true;
    add(&v.folder, "one", "threads=1", 20, 0);
    add(&v.folder, "weak/1", "threads=1", 20, 0);
    add(&v.folder, "weak/2", "threads=1 ranks=2 ddp=flat", 22, 2);
    struct cell *cells = v.folder.results.plan.cells.items;
    cells[0].selected = false;
    cells[1].selected = cells[2].selected = true;
    look(&v);
    size_t measured = 0;
    for (size_t i = 0; i < v.outlook.row_count; i++) {
        const struct outlook_row *r = v.outlook.rows + i;
        measured += r->measured != NULL;
        assert_string_equal(v.outlook.bases[r->base].tally->cell->id, "weak/1");
    }
    assert_int_equal(measured, 1);
    end(&v);
}

static void reductions_beside_backward_have_their_own_curve(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "one", "threads=1", 20, 0);
    add(&v.folder, "torch", "threads=1 engine=torch", 20, 0);
    add_curve(&v.folder, "alone", "task=allreduce ranks=2", 2);
    add_curve(&v.folder, "beside",
            "task=allreduce ranks=2 env={\"NCCL_MAX_CTAS\":\"4\"}", 6);
    look(&v);
    assert_int_equal(v.outlook.row_count, 16);
    for (size_t i = 0; i < v.outlook.row_count; i++) {
        const struct outlook_row *r = v.outlook.rows + i;
        bool ours = r->base == 0;
        bool overlaps = r->wrapper.ddp == DDP_BUCKETED || r->wrapper.ddp == DDP_SHARDED;
        assert_string_equal(r->curve->tally->cell->id, "alone");
        assert_true((r->beside != NULL) == (ours && overlaps));
        if (r->beside) {
            assert_string_equal(r->beside->tally->cell->id, "beside");
        }
    }
    page_says(&v, "All-reduces: on 2, 4 ranks the curve of `alone`");
    page_says(&v, ". Beside backward: on 2, 4 ranks the curve of `beside`");
    end(&v);
}

static void links_stand_in_for_a_curve(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "one", "threads=1", 20, 0);
    add(&v.folder, "two", "threads=1 ranks=2 ddp=flat", 24, 2);
    look(&v);
    assert_int_equal(v.outlook.row_count, 0);
    assert_string_equal(text_get(&v.outlook.skipped),
            "one: there is no all-reduce curve of its kind of device\n");
    outlook_finish(&v.outlook);
    v.question.links.link_bytes_per_s = 100e9;
    outlook_init(&v.outlook, &v.all, 1, &v.question);
    assert_int_equal(v.outlook.row_count, 2);
    assert_null(v.outlook.rows[0].curve);
    assert_near(v.outlook.rows[0].ring.exposed_ms, 0.01 + 1);
    end(&v);
}

static void stale_curves_are_left_out(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    folder_fact(&v.folder.cells->attempts->record, "worker_build", "of yesterday");
    add(&v.folder, "one", "threads=1", 20, 0);
    look(&v);
    assert_int_equal(v.outlook.row_count, 0);
    assert_int_equal(v.outlook.curve_count, 0);
    assert_int_equal(v.outlook.stale_curves, 1);
    end(&v);
}

static void records_without_phases_are_named(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    folder_metric(add(&v.folder, "a", "threads=1", 20, 0), "backward_ms", NAN);
    folder_metric(add(&v.folder, "b", "threads=1 batch=2", 20, 0), "grads_bytes", NAN);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    look(&v);
    assert_int_equal(v.outlook.row_count, 0);
    assert_string_equal(text_get(&v.outlook.skipped),
            "a: its record has no step time or lacks a phase of it\n"
            "b: its record has no bytes of gradients or weights\n");
    end(&v);
}

static void without_a_one_rank_cell_its_own_phases_serve(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "two", "threads=1 ranks=2 ddp=flat", 24, 2);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    look(&v);
    assert_int_equal(v.outlook.row_count, 1);
    assert_int_equal(v.outlook.rows[0].ranks, 4);
    // 10 of 12 ms of phases are no communication: 20 of 24.
    assert_near(v.outlook.bases[0].cell.forward_ms +
                        v.outlook.bases[0].cell.backward_ms +
                        v.outlook.bases[0].cell.optimizer_ms,
            20);
    assert_null(v.outlook.rows[0].measured);
    assert_near(v.outlook.rows[0].tokens_per_s,
            2 * (1e6 / 24) * 24 / (20 + v.outlook.rows[0].ring.exposed_ms));
    end(&v);
}

static void strong_scaling_starts_from_the_whole_batch(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "one", "threads=1 global_batch=6", 20, 0);
    add(&v.folder, "two", "threads=1 global_batch=6 ranks=2 ddp=flat", 14, 2);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    look(&v);
    assert_int_equal(v.outlook.row_count, 1);
    assert_string_equal(text_get(&v.outlook.skipped),
            "one: 4 ranks cannot share out its 6 sequences\n");
    assert_true(v.outlook.bases[0].cell.strong);
    assert_near(v.outlook.rows[0].ring.step_ms, 16.0 / 2 + 4 + 2);
    assert_near(v.outlook.rows[0].error_pct, 0);
    assert_near(v.outlook.rows[0].ring.speedup, 20.0 / 14);
    end(&v);
}

static void programs_get_the_same_numbers(void **state) {
    (void)state;
    struct view v;
    begin(&v);
    add(&v.folder, "one", "threads=1", 20, 0);
    add(&v.folder, "two", "threads=1 ranks=2 ddp=flat", 22, 2);
    add_curve(&v.folder, "curve", "task=allreduce ranks=2", 2);
    look(&v);
    json_t *root = outlook_json(&v.outlook);
    const json_t *first = json_array_get(json_object_get(root, "forecasts"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "cell")), "one");
    const json_t *ring = json_object_get(first, "ring");
    assert_near(json_real_value(json_object_get(ring, "step_ms")), 22);
    const json_t *measured = json_object_get(first, "measured");
    assert_string_equal(json_string_value(json_object_get(measured, "cell")), "two");
    assert_near(json_number_value(json_object_get(measured, "error_pct")), 0);
    assert_true(json_is_null(json_object_get(first, "bucket_mb")));
    assert_true(json_array_size(json_object_get(root, "model")) > 5);
    assert_true(json_array_size(json_object_get(root, "limits")) > 3);
    json_decref(root);
    end(&v);
}

static void a_report_has_the_section_where_it_has_a_curve(void **state) {
    (void)state;
    for (int curve = 0; curve < 2; curve++) {
        struct scene s = {0};
        scene_open(&s, "");
        add(&s.folder, "one", "threads=1", 20, 0);
        add(&s.folder, "two", "threads=1 ranks=2 ddp=flat", 24, 2);
        if (curve) {
            add_curve(&s.folder, "curve", "task=allreduce ranks=2", 2);
        }
        scene_report(&s);
        if (curve) {
            scene_says(&s, "demo_report.md", "## Forecast\n");
            scene_says(&s, "demo_report.md",
                    "Over 1 measured row the step's error is 8.3 % at the median");
            scene_says(&s, "demo_report.md", "| `one` | `flat` | 2 | 22.0 ms |");
            assert_int_equal(scene_check_csv(&s, "demo_forecast.csv"), 3);
        } else {
            scene_is_silent(&s, "demo_report.md", "Forecast");
            assert_false(scene_has(&s, "demo_forecast.csv"));
        }
        scene_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(errors_are_held_against_what_was_measured),
            cmocka_unit_test(ranks_that_share_cores_are_no_evidence),
            cmocka_unit_test(rows_that_all_share_cores_prove_nothing),
            cmocka_unit_test(what_was_measured_ran_on_one_host),
            cmocka_unit_test(forecasts_start_from_the_first_gpu),
            cmocka_unit_test(the_slowdown_is_fitted_to_measured_backwards),
            cmocka_unit_test(the_curve_most_alike_is_taken),
            cmocka_unit_test(every_curve_that_rows_use_is_named),
            cmocka_unit_test(
                    what_was_measured_stands_by_the_equal_cell_that_is_asked_about),
            cmocka_unit_test(reductions_beside_backward_have_their_own_curve),
            cmocka_unit_test(links_stand_in_for_a_curve),
            cmocka_unit_test(stale_curves_are_left_out),
            cmocka_unit_test(records_without_phases_are_named),
            cmocka_unit_test(without_a_one_rank_cell_its_own_phases_serve),
            cmocka_unit_test(strong_scaling_starts_from_the_whole_batch),
            cmocka_unit_test(programs_get_the_same_numbers),
            cmocka_unit_test(a_report_has_the_section_where_it_has_a_curve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
