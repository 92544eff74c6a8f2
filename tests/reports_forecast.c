/* The forecast's arithmetic, against cases that a hand can compute. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "matrix/axes.h"
#include "matrix/curve.h"
#include "reports/fabric.h"
#include "reports/forecast.h"
#include "reports/overlap.h"

// Written so that NaN fails.
static void assert_near(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-9 * fmax(1, fabs(expected)))) {
        fail_msg("found %.12g, expected %.12g", found, expected);
    }
}

// 100 GB/s within a node of 8, 25 GB/s out of it; hops of 0.01 and 0.1 ms.
static const struct fabric links = {.link_bytes_per_s = 100e9,
        .hop_ms = 0.01,
        .network_bytes_per_s = 25e9,
        .network_hop_ms = 0.1,
        .per_node = 8};

static const struct fabric at_once = {
        .link_bytes_per_s = INFINITY, .per_node = 1 << 20, .network_bytes_per_s = NAN};

static void a_ring_moves_its_bytes_and_makes_its_hops(void **state) {
    (void)state;
    assert_near(fabric_all_reduce_ms(&links, FABRIC_RING, 1, 1e9), 0);
    assert_near(fabric_all_reduce_ms(&links, FABRIC_RING, 2, 1e9), 0.02 + 10);
    assert_near(fabric_all_reduce_ms(&links, FABRIC_RING, 4, 1e9), 0.06 + 15);
    // 14 hops within two nodes and one between; the network is the slower one.
    assert_near(fabric_all_reduce_ms(&links, FABRIC_RING, 16, 1e9),
            2 * (14 * 0.01 + 0.1) + 2 * 15.0 / 16 * 40);
}

static void ring_and_tree_are_one_at_two_ranks(void **state) {
    (void)state;
    struct fabric apart = links;
    apart.per_node = 1;
    assert_near(fabric_all_reduce_ms(&links, FABRIC_TREE, 2, 1e6), 0.02 + 0.01);
    assert_near(fabric_all_reduce_ms(&apart, FABRIC_TREE, 2, 1e6), 0.2 + 0.04);
    assert_near(fabric_all_reduce_ms(&apart, FABRIC_RING, 2, 1e6), 0.2 + 0.04);
}

static void a_tree_needs_fewer_hops_between_nodes(void **state) {
    (void)state;
    struct fabric apart = links;
    apart.per_node = 1;
    assert_near(fabric_hops_ms(&apart, FABRIC_RING, 16), 2 * 15 * 0.1);
    assert_near(fabric_hops_ms(&apart, FABRIC_TREE, 16), 2 * 4 * 0.1);
    assert_near(fabric_hops_ms(&apart, FABRIC_TREE, 17), 2 * 5 * 0.1);
    assert_near(fabric_hops_ms(&links, FABRIC_TREE, 32), 2 * (7 * 0.01 + 2 * 0.1));
}

static void an_unknown_network_is_not_guessed(void **state) {
    (void)state;
    struct fabric f = links;
    f.network_bytes_per_s = NAN;
    assert_false(isnan(fabric_all_reduce_ms(&f, FABRIC_RING, 8, 1e6)));
    assert_true(isnan(fabric_all_reduce_ms(&f, FABRIC_RING, 9, 1e6)));
}

static json_t *point(int64_t bytes, double ms) {
    struct curve_row row = {.bytes = bytes,
            .ms_median = ms,
            .ms_p10 = ms,
            .ms_p90 = ms,
            .bus_bytes_per_s = (double)bytes / ms * 1e3};
    return curve_row_to_json(&row);
}

static struct fabric_curve two_points(void) {
    struct fabric_curve c;
    json_t *rows = json_pack("[o, {s:s}, o, o]", point(100000000, 2.0), "bytes", "odd",
            point(1000000, 0.02), point(10000000, -1.0));
    assert_true(fabric_curve_read(&c, rows, 2));
    json_decref(rows);
    return c;
}

static void a_curve_is_read_sorted_and_without_what_is_no_point(void **state) {
    (void)state;
    struct fabric_curve c = two_points();
    assert_int_equal(c.count, 2);
    assert_near(c.points[0].bytes, 1e6);
    fabric_curve_finish(&c);
    json_t *none = json_array();
    assert_false(fabric_curve_read(&c, none, 2));
    assert_false(fabric_curve_read(&c, NULL, 2));
    assert_null(c.points);
    json_decref(none);
}

static void a_curve_is_straight_in_logarithms(void **state) {
    (void)state;
    struct fabric_curve c = two_points();
    assert_near(fabric_curve_ms(&c, 1), 0.02);
    assert_near(fabric_curve_ms(&c, 1e7), 0.2);
    assert_near(fabric_curve_ms(&c, 1e8), 2);
    assert_near(fabric_curve_ms(&c, 2e8), 4);
    fabric_curve_finish(&c);
}

static void a_curve_is_kept_at_its_ranks_and_carried_to_more(void **state) {
    (void)state;
    struct fabric_curve c = two_points();
    struct fabric f = {.curve = &c, .per_node = 8, .network_bytes_per_s = NAN};
    assert_near(fabric_all_reduce_ms(&f, FABRIC_RING, 2, 1e7), 0.2);
    assert_near(fabric_all_reduce_ms(&f, FABRIC_RING, 2, 1), 0.02);
    // Six steps of 50 MB each, where the curve's two were of 50 MB for 100 MB.
    assert_near(
            fabric_all_reduce_ms(&f, FABRIC_RING, 4, 2e8), 6 * 0.01 + 3 * (2 - 0.02));
    fabric_curve_finish(&c);
}

static void transfers_hide_behind_what_produces_them(void **state) {
    (void)state;
    const struct overlap_transfer hidden[] = {{0.5, 2}, {1, 3}};
    struct overlap o = overlap_produced(10, 0, hidden, 2);
    assert_near(o.compute_ms, 10);
    assert_near(o.exposed_ms, 3);
    const struct overlap_transfer queued[] = {{0.5, 6}, {1, 6}};
    o = overlap_produced(10, 0, queued, 2);
    assert_near(o.exposed_ms, 7);
    o = overlap_produced(10, 0, NULL, 0);
    assert_near(o.compute_ms, 10);
    assert_near(o.exposed_ms, 0);
}

static void transfers_slow_what_computes_beside_them(void **state) {
    (void)state;
    const struct overlap_transfer two[] = {{0.5, 2}, {1, 3}};
    struct overlap o = overlap_produced(10, 1, two, 2);
    assert_near(o.compute_ms, 11);
    assert_near(o.exposed_ms, 3);
    // Compute ends within the transfer: 4 ms of it take 8.
    const struct overlap_transfer one[] = {{0.6, 9}};
    o = overlap_produced(10, 1, one, 1);
    assert_near(o.compute_ms, 14);
    assert_near(o.exposed_ms, 1);
}

static void forward_waits_for_the_weights_it_needs(void **state) {
    (void)state;
    const struct overlap_transfer late[] = {{0, 1}, {0.5, 7}};
    struct overlap o = overlap_needed(10, 0, late, 2);
    assert_near(o.compute_ms, 10);
    assert_near(o.exposed_ms, 1 + 2);
    const struct overlap_transfer soon[] = {{0.5, 2}, {0.75, 1}};
    o = overlap_needed(10, 0, soon, 2);
    assert_near(o.exposed_ms, 0);
    o = overlap_needed(10, 0.5, soon, 2);
    assert_near(o.compute_ms, 11); // 3 ms of transfers, in which 2 ms are computed
}

#define PARAMETERS 10

// As many, all alike, without tables; whole chunks for up to 64 ranks.
#define EACH (64.0 * LAYOUT_CHUNK)
static double even[PARAMETERS + 1] = {0, EACH, 2 * EACH, 3 * EACH, 4 * EACH, 5 * EACH,
        6 * EACH, 7 * EACH, 8 * EACH, 9 * EACH, 10 * EACH};

// 20 ms a step, a gradient of 1 GB: 10.02 ms to reduce between two.
static const struct forecast_cell sample = {.forward_ms = 4,
        .backward_ms = 8,
        .optimizer_ms = 4,
        .rest_ms = 4,
        .grad_bytes = 1e9,
        .weight_bytes = 1e9,
        .layout = {.offsets = even, .count = PARAMETERS},
        .accumulate = 1};

static struct forecast_step step(
        const struct forecast_cell *c, int ddp, const struct fabric *f, int ranks) {
    struct forecast_wrapper w = {ddp, 1e8};
    struct forecast_setting s = {.fabric = f};
    return forecast_step(c, &w, &s, ranks);
}

static void without_communication_efficiency_is_whole(void **state) {
    (void)state;
    for (int ddp = DDP_NAIVE; ddp <= DDP_BUCKETED; ddp++) {
        struct forecast_step s = step(&sample, ddp, &at_once, 64);
        assert_near(s.step_ms, 20);
        assert_near(s.efficiency, 1);
        assert_near(s.speedup, 64);
    }
    // The optimizer's share falls away: 4 ms become 1.
    assert_near(step(&sample, DDP_SHARDED, &at_once, 4).step_ms, 17);
    assert_near(step(&sample, DDP_FLAT, &links, 1).efficiency, 1);
}

static void strong_scaling_divides_all_but_the_optimizer(void **state) {
    (void)state;
    struct forecast_cell c = sample;
    c.strong = true;
    struct forecast_step s = step(&c, DDP_FLAT, &at_once, 2);
    assert_near(s.step_ms, 2 + 2 + 4 + 4);
    assert_near(s.speedup, 20.0 / 12);
    assert_near(s.efficiency, 10.0 / 12);
}

static void one_reduction_after_backward_is_fully_exposed(void **state) {
    (void)state;
    struct forecast_step s = step(&sample, DDP_FLAT, &links, 2);
    assert_near(s.exposed_ms, 10.02);
    assert_near(s.comm_ms, 10.02);
    assert_near(s.efficiency, 20 / 30.02);
}

static void many_reductions_are_dominated_by_their_hops(void **state) {
    (void)state;
    struct fabric slow = {.link_bytes_per_s = INFINITY, .hop_ms = 0.5, .per_node = 8};
    assert_near(step(&sample, DDP_FLAT, &slow, 2).exposed_ms, 1);
    assert_near(step(&sample, DDP_NAIVE, &slow, 2).exposed_ms, 10);
    assert_near(step(&sample, DDP_FLAT, &slow, 8).exposed_ms, 7);
    // Ten buckets, one after another, the first ready after 0.8 ms of backward.
    assert_near(step(&sample, DDP_BUCKETED, &slow, 2).exposed_ms, 0.8 + 10 - 8);
}

static void buckets_hide_all_but_the_last(void **state) {
    (void)state;
    struct fabric quick = {.link_bytes_per_s = 1e12, .per_node = 8};
    // A bucket takes 0.1 ms, and one is ready every 0.8.
    struct forecast_step s = step(&sample, DDP_BUCKETED, &quick, 2);
    assert_near(s.exposed_ms, 0.1);
    assert_near(s.backward_ms, 8);
    assert_near(s.comm_ms, 1);
    assert_near(s.efficiency, 20 / 20.1);
}

static void only_the_last_micro_step_hides_anything(void **state) {
    (void)state;
    struct forecast_cell c = sample;
    c.accumulate = 8;
    struct fabric quick = {.link_bytes_per_s = 1e12, .per_node = 8};
    // The last backward takes 1 ms, as long as the ten reductions.
    struct forecast_step s = step(&c, DDP_BUCKETED, &quick, 2);
    assert_near(s.backward_ms, 8);
    assert_near(s.exposed_ms, 0.1);
    c.accumulate = 16;
    assert_near(step(&c, DDP_BUCKETED, &quick, 2).exposed_ms, 0.05 + 1 - 0.5);
}

static void sharded_halves_the_reduction_and_gathers_under_forward(void **state) {
    (void)state;
    struct fabric quick = {.link_bytes_per_s = 1e12, .per_node = 8};
    struct forecast_step s = step(&sample, DDP_SHARDED, &quick, 2);
    // The last scatter and the first gather, 0.05 ms each.
    assert_near(s.exposed_ms, 0.1);
    assert_near(s.optimizer_ms, 2);
    assert_near(s.comm_ms, 1);
    struct forecast_cell late = sample;
    late.torch = true;
    s = step(&late, DDP_SHARDED, &quick, 2);
    assert_near(s.exposed_ms, 0.1 + 0.5);
    assert_near(s.comm_ms, 1.5);
}

// A table of tokens and three parameters, 250 MB each.
static struct forecast_cell with_table(bool tied) {
    struct forecast_cell c = sample;
    c.layout = (struct layout){
            .offsets = even, .count = 4, .tables = 1, .tied = tied, .vocab = 1.5e6};
    return c;
}

static void a_tied_table_is_reduced_last_or_its_tokens_are(void **state) {
    (void)state;
    struct fabric quick = {.link_bytes_per_s = 1e12, .per_node = 8};
    struct forecast_wrapper w = {DDP_BUCKETED, 2.5e8};
    struct forecast_setting s = {.fabric = &quick};
    struct forecast_cell c = with_table(true);
    // The last bucket and then the table, 0.25 ms each, after backward.
    assert_near(forecast_step(&c, &w, &s, 2).exposed_ms, 0.5);
    c.tokens = 1e6;
    c.row_bytes = 50;
    // The table went first; two ranks' rows take half of what 100 MB would, and so do
    // their tokens, from 1 ms before backward's end on.
    assert_near(forecast_step(&c, &w, &s, 2).exposed_ms, 0.25);
    assert_near(forecast_step(&c, &w, &s, 2).comm_ms, 1 + 0.05 + 0.004);
    c.row_bytes = 1200;
    assert_near(forecast_step(&c, &w, &s, 2).exposed_ms, 0.25 + 1.204 - 1);
    c.row_bytes = 50;
    // Four ranks have more rows than two tables: as before, 1.5 times as slow.
    assert_near(forecast_step(&c, &w, &s, 4).exposed_ms, 1.5 * 0.5);
    // A rank's tokens are whole 16 bytes, or they stay.
    c.tokens = 1e6 - 2;
    assert_near(forecast_step(&c, &w, &s, 2).exposed_ms, 0.5);
    // Shared out, all ranks have as many rows as one.
    c.strong = true;
    c.tokens = 2e6;
    assert_near(forecast_step(&c, &w, &s, 4).exposed_ms, 1.5 * 0.25);
}

static void an_untied_table_does_not_travel_where_tokens_do(void **state) {
    (void)state;
    struct fabric quick = {.link_bytes_per_s = 1e12, .per_node = 8};
    struct forecast_wrapper w = {DDP_BUCKETED, 2.5e8};
    struct forecast_setting s = {.fabric = &quick};
    struct forecast_cell c = with_table(false);
    c.tokens = 1e6;
    c.row_bytes = 50;
    assert_near(forecast_step(&c, &w, &s, 2).exposed_ms, 0.25);
    assert_near(forecast_step(&c, &w, &s, 2).comm_ms, 0.75 + 0.05 + 0.004);
    // Micro-steps before the last have to add to it, and torch knows nothing of this.
    c.accumulate = 2;
    assert_near(forecast_step(&c, &w, &s, 2).exposed_ms, 0.5);
    c.accumulate = 1;
    c.torch = true;
    assert_near(forecast_step(&c, &w, &s, 2).comm_ms, 1);
    // Half of each, and forward needs the table and a bucket to begin.
    c.torch = false;
    w.ddp = DDP_SHARDED;
    assert_near(forecast_step(&c, &w, &s, 2).exposed_ms, 0.25 + 0.25);
}

static void there_are_no_more_slices_than_parameters(void **state) {
    (void)state;
    struct fabric slow = {.link_bytes_per_s = INFINITY, .hop_ms = 0.5, .per_node = 8};
    struct forecast_wrapper w = {DDP_BUCKETED, 1};
    struct forecast_setting s = {.fabric = &slow};
    assert_near(forecast_step(&sample, &w, &s, 2).comm_ms, PARAMETERS);
    // Shards are chunks: 640 of them to each of two ranks is 320 slices.
    w.ddp = DDP_SHARDED;
    assert_near(forecast_step(&sample, &w, &s, 2).comm_ms, 320);
    // One bucket for all, but for an eighth or the parameter that has it.
    w = (struct forecast_wrapper){DDP_BUCKETED, 1e9};
    assert_near(forecast_step(&sample, &w, &s, 2).comm_ms, 2);
}

static void reductions_beside_backward_may_be_slower(void **state) {
    (void)state;
    struct fabric quick = {.link_bytes_per_s = 1e12, .per_node = 8};
    struct fabric half = {.link_bytes_per_s = 5e11, .per_node = 8};
    struct forecast_setting s = {.fabric = &quick, .beside = &half};
    struct forecast_wrapper w = {DDP_BUCKETED, 1e8};
    assert_near(forecast_step(&sample, &w, &s, 2).exposed_ms, 0.2);
    w.ddp = DDP_FLAT;
    assert_near(forecast_step(&sample, &w, &s, 2).exposed_ms, 1);
    w.ddp = DDP_SHARDED; // gathers are not held back
    assert_near(forecast_step(&sample, &w, &s, 2).exposed_ms, 0.1 + 0.05);
}

static void sharded_has_a_slowdown_and_an_undivided_part(void **state) {
    (void)state;
    struct fabric quick = {.link_bytes_per_s = 1e12, .per_node = 8};
    struct forecast_wrapper w = {DDP_SHARDED, 1e8};
    struct forecast_setting s = {
            .fabric = &quick, .gather_slowdown = 0.25, .undivided = 0.5};
    struct forecast_step step = forecast_step(&sample, &w, &s, 4);
    assert_near(step.optimizer_ms, 4 * (0.5 + 0.5 / 4));
    assert_near(step.backward_ms, 8);
    // Nine gathers of 0.075 ms beside forward, a fifth of each lost.
    assert_near(step.forward_ms, 4 + 9 * 0.075 * 0.2);
    double forward = step.forward_ms;
    s.gather_slowdown = 0;
    assert_near(forecast_fit_gather_slowdown(&sample, &w, &s, 4, forward), 0.25);
    assert_near(forecast_fit_gather_slowdown(&sample, &w, &s, 4, 3.9), 0);
    w.ddp = DDP_BUCKETED;
    assert_true(isnan(forecast_fit_gather_slowdown(&sample, &w, &s, 4, forward)));
}

static void a_slowdown_is_found_again(void **state) {
    (void)state;
    struct fabric quick = {.link_bytes_per_s = 1e12, .per_node = 8};
    struct forecast_wrapper w = {DDP_BUCKETED, 1e8};
    struct forecast_setting s = {.fabric = &quick, .slowdown = 0.25};
    double backward = forecast_step(&sample, &w, &s, 2).backward_ms;
    assert_near(backward, 8 + 9 * 0.1 * 0.2);
    s.slowdown = 0;
    assert_near(forecast_fit_slowdown(&sample, &w, &s, 2, backward), 0.25);
    assert_near(forecast_fit_slowdown(&sample, &w, &s, 2, 7.9), 0);
    assert_true(isnan(forecast_fit_slowdown(&sample, &w, &s, 2, 80)));
    assert_true(isnan(forecast_fit_slowdown(&sample, &w, &s, 2, NAN)));
    w.ddp = DDP_FLAT;
    assert_true(isnan(forecast_fit_slowdown(&sample, &w, &s, 2, backward)));
}

static void what_the_fabric_cannot_tell_is_unknown(void **state) {
    (void)state;
    struct fabric f = links;
    f.network_bytes_per_s = NAN;
    assert_true(isnan(step(&sample, DDP_BUCKETED, &f, 16).step_ms));
    assert_true(isnan(step(&sample, DDP_BUCKETED, &f, 16).efficiency));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(a_ring_moves_its_bytes_and_makes_its_hops),
            cmocka_unit_test(ring_and_tree_are_one_at_two_ranks),
            cmocka_unit_test(a_tree_needs_fewer_hops_between_nodes),
            cmocka_unit_test(an_unknown_network_is_not_guessed),
            cmocka_unit_test(a_curve_is_read_sorted_and_without_what_is_no_point),
            cmocka_unit_test(a_curve_is_straight_in_logarithms),
            cmocka_unit_test(a_curve_is_kept_at_its_ranks_and_carried_to_more),
            cmocka_unit_test(transfers_hide_behind_what_produces_them),
            cmocka_unit_test(transfers_slow_what_computes_beside_them),
            cmocka_unit_test(forward_waits_for_the_weights_it_needs),
            cmocka_unit_test(without_communication_efficiency_is_whole),
            cmocka_unit_test(strong_scaling_divides_all_but_the_optimizer),
            cmocka_unit_test(one_reduction_after_backward_is_fully_exposed),
            cmocka_unit_test(many_reductions_are_dominated_by_their_hops),
            cmocka_unit_test(buckets_hide_all_but_the_last),
            cmocka_unit_test(only_the_last_micro_step_hides_anything),
            cmocka_unit_test(sharded_halves_the_reduction_and_gathers_under_forward),
            cmocka_unit_test(a_tied_table_is_reduced_last_or_its_tokens_are),
            cmocka_unit_test(an_untied_table_does_not_travel_where_tokens_do),
            cmocka_unit_test(there_are_no_more_slices_than_parameters),
            cmocka_unit_test(reductions_beside_backward_may_be_slower),
            cmocka_unit_test(sharded_has_a_slowdown_and_an_undivided_part),
            cmocka_unit_test(a_slowdown_is_found_again),
            cmocka_unit_test(what_the_fabric_cannot_tell_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
