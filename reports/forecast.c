#include "reports/forecast.h"

#include <math.h>
#include <stdlib.h>

#include "matrix/axes.h"
#include "reports/overlap.h"

#define TRANSFERS_MOST                                                                 \
    100000 /* buckets of a step; smaller ones are taken as this many */
#define SLOWDOWN_MOST 8.0

const char *const forecast_model[] = {
        "step = data + forward + backward + exposed communication + optimizer. The "
        "phases are the one-rank cell's, scaled so that they add up to its median "
        "step.",
        "weak: every rank does that work. strong: data, forward and backward are "
        "divided by the ranks W; the optimizer is not.",
        "S bytes of gradients, P tensors; T(S): one all-reduce.",
        "naive: (P − 1) × hops + T(S), after backward. flat: T(S), after backward.",
        "bucketed: backward goes through the parameters from the last to the first at "
        "an even pace in bytes; a bucket is ready when it is through with it, starts "
        "when the one before it is done, too, and takes T(bucket). The token table is "
        "ready last; a tied one (gpt) is reduced first where gathering the tokens' "
        "rows "
        "at the end moves less, and then those take T(rows of all ranks) ÷ 2. Exposed "
        "is what is left after backward. Under accumulation only the last micro-step's "
        "backward counts.",
        "sharded: the same with reduce-scatters of T ÷ 2; the optimizer ÷ W; the "
        "weights' all-gathers of T ÷ 2 start with forward, which waits for each bucket "
        "that it needs. (torch: all-reduces of T, and gathers after the optimizer.)",
        "while communication is under way, backward and forward take (1 + s) times as "
        "long; s is fitted, or 0.",
        "T, ring: 2·((W − N)·a + (N − 1)·A) + bytes; tree: 2·((W ÷ N − 1)·a + "
        "⌈log2 N⌉·A) + bytes; N nodes, a hop a within one and A between two.",
        "from a curve T0 among W0 ranks: a = T0(smallest) ÷ (2·(W0 − 1)), bytes = "
        "(W − 1) ÷ (W0 − 1) × (T0(S·W0 ÷ W) − T0(smallest)), T0 in straight lines of "
        "logarithms; without one: bytes = 2·(W − 1) ÷ W · S ÷ link. On several nodes "
        "at least 2·(W − 1) ÷ W · S ÷ network.",
        "tokens/s = one rank's × speed-up; speed-up = one-rank step ÷ step (× W if "
        "weak); efficiency = speed-up ÷ W.",
        NULL};

const char *const forecast_limits[] = {
        "No stragglers, no jitter, no other jobs: every rank takes the same time, and "
        "the network gives its full speed.",
        "Backward is taken to go through the parameters at an even pace; attention and "
        "norms, which have few, are spread over all of them.",
        "A smaller batch is taken to compute as efficiently as a large one, so strong "
        "scaling is forecast too well where the share of a rank becomes small.",
        "Data loads as fast as on one rank; clipping and loss scaling add no time.",
        "A curve is carried to other numbers of ranks by the bytes of a ring's step; "
        "switches that add up in the network, and links that all ranks share, as "
        "memory on a CPU, are not modelled.",
        NULL};

/* Transfers beside compute; zeroed it is empty. */
struct schedule {
    struct overlap_transfer *transfers; /* owned */
    size_t count;
    double ms; /* all of them */
};

static void add_transfer(struct schedule *plan, double at, double ms) {
    plan->transfers[plan->count++] = (struct overlap_transfer){at, ms};
    plan->ms += ms;
}

/* What a bucket takes, and how many of a size there are beside the table. */
struct buckets {
    double body, table; /* bytes */
    double compute;     /* bytes whose matrices compute: all but an untied table */
    double each, count, rest;
};

static struct buckets cut(const struct forecast_cell *c, double bytes, double each) {
    struct buckets b = {.table = bytes * c->table_share, .each = each};
    b.body = bytes - b.table;
    b.compute = c->tied ? bytes : b.body;
    b.count = floor(b.body / each);
    if (b.count > TRANSFERS_MOST) {
        b.count = TRANSFERS_MOST;
        b.each = b.body / b.count;
    }
    b.rest = fmax(0, b.body - b.count * b.each);
    return b;
}

static double transfer_ms(
        const struct forecast_setting *s, int ranks, double bytes, double part) {
    return part * fabric_all_reduce_ms(s->fabric, s->algorithm, ranks, bytes);
}

/* In backward's order, the table last; or first, and the tokens' rows last. */
static struct schedule plan_reductions(const struct forecast_cell *c,
        const struct forecast_wrapper *w, const struct forecast_setting *s, int ranks) {
    struct buckets b = cut(c, c->grad_bytes, w->bucket_bytes);
    double part = w->ddp == DDP_SHARDED && !c->late_gather ? 0.5 : 1;
    bool gathers =
            w->ddp == DDP_BUCKETED && c->token_bytes > 0 && ranks <= c->gather_most;
    struct schedule plan = {.transfers = text_allocate_zeroed(
                                    (size_t)b.count + 3, sizeof *plan.transfers)};
    double done = c->tied ? b.table : 0;
    if (gathers) {
        add_transfer(&plan, done / b.compute, transfer_ms(s, ranks, b.table, part));
    }
    for (double i = 0; i < b.count; i++) {
        done += b.each;
        add_transfer(
                &plan, fmin(1, done / b.compute), transfer_ms(s, ranks, b.each, part));
    }
    double rest = b.rest + (gathers ? 0 : b.table);
    if (rest > 0) {
        add_transfer(&plan, 1, transfer_ms(s, ranks, rest, part));
    }
    if (gathers) {
        double tokens = c->token_bytes * (c->strong ? 1 : ranks);
        add_transfer(&plan, 1, transfer_ms(s, ranks, tokens, 0.5));
    }
    return plan;
}

/* In forward's order, the table first. */
static struct schedule plan_gathers(const struct forecast_cell *c,
        const struct forecast_wrapper *w, const struct forecast_setting *s, int ranks) {
    struct buckets b = cut(c, c->weight_bytes, w->bucket_bytes);
    struct schedule plan = {.transfers = text_allocate_zeroed(
                                    (size_t)b.count + 1, sizeof *plan.transfers)};
    double done = b.rest;
    if (b.rest + b.table > 0) {
        add_transfer(&plan, 0, transfer_ms(s, ranks, b.rest + b.table, 0.5));
    }
    for (double i = 0; i < b.count; i++) {
        add_transfer(
                &plan, fmin(1, done / b.compute), transfer_ms(s, ranks, b.each, 0.5));
        done += b.each;
    }
    return plan;
}

/* Backward on `ranks`, with the reductions that run beside it. */
static struct overlap reduce_beside(const struct forecast_cell *c,
        const struct forecast_wrapper *w, const struct forecast_setting *s, int ranks,
        double *comm_ms) {
    double share = c->strong ? 1.0 / ranks : 1;
    double last = c->backward_ms * share / c->accumulate;
    struct schedule plan = plan_reductions(c, w, s, ranks);
    struct overlap o = overlap_produced(last, s->slowdown, plan.transfers, plan.count);
    o.compute_ms += last * (c->accumulate - 1);
    *comm_ms += plan.ms;
    free(plan.transfers);
    return o;
}

/* The all-gathers of `sharded`. */
static void gather(const struct forecast_cell *c, const struct forecast_wrapper *w,
        const struct forecast_setting *s, int ranks, struct forecast_step *out) {
    struct schedule plan = plan_gathers(c, w, s, ranks);
    if (c->late_gather) {
        out->exposed_ms += plan.ms;
    } else {
        double first = out->forward_ms / c->accumulate;
        struct overlap o =
                overlap_needed(first, s->slowdown, plan.transfers, plan.count);
        out->forward_ms += o.compute_ms - first;
        out->exposed_ms += o.exposed_ms;
    }
    out->comm_ms += plan.ms;
    free(plan.transfers);
}

static bool overlaps(const struct forecast_wrapper *w) {
    return w->ddp == DDP_BUCKETED || w->ddp == DDP_SHARDED;
}

static void communicate(const struct forecast_cell *c, const struct forecast_wrapper *w,
        const struct forecast_setting *s, int ranks, struct forecast_step *out) {
    if (overlaps(w)) {
        struct overlap o = reduce_beside(c, w, s, ranks, &out->comm_ms);
        out->backward_ms = o.compute_ms;
        out->exposed_ms = o.exposed_ms;
    } else {
        double hops = fabric_hops_ms(s->fabric, s->algorithm, ranks);
        double once =
                fabric_all_reduce_ms(s->fabric, s->algorithm, ranks, c->grad_bytes);
        double more = w->ddp == DDP_NAIVE ? (c->tensors - 1) * hops : 0;
        out->comm_ms = out->exposed_ms = once + more;
    }
    if (w->ddp == DDP_SHARDED) {
        out->optimizer_ms /= ranks;
        gather(c, w, s, ranks, out);
    }
}

struct forecast_step forecast_step(const struct forecast_cell *cell,
        const struct forecast_wrapper *wrapper, const struct forecast_setting *setting,
        int ranks) {
    double alone =
            cell->rest_ms + cell->forward_ms + cell->backward_ms + cell->optimizer_ms;
    double share = cell->strong ? 1.0 / ranks : 1;
    struct forecast_step out = {.rest_ms = cell->rest_ms * share,
            .forward_ms = cell->forward_ms * share,
            .backward_ms = cell->backward_ms * share,
            .optimizer_ms = cell->optimizer_ms};
    if (ranks > 1) {
        // A timeline of times that are not known would compare them.
        double one =
                fabric_all_reduce_ms(setting->fabric, setting->algorithm, ranks, 1);
        if (isnan(one)) {
            return (struct forecast_step){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
        }
        communicate(cell, wrapper, setting, ranks, &out);
    }
    out.step_ms = out.rest_ms + out.forward_ms + out.backward_ms + out.exposed_ms +
                  out.optimizer_ms;
    out.speedup = alone / out.step_ms * (cell->strong ? 1 : ranks);
    out.efficiency = out.speedup / ranks;
    return out;
}

double forecast_fit_slowdown(const struct forecast_cell *cell,
        const struct forecast_wrapper *wrapper, const struct forecast_setting *setting,
        int ranks, double backward_ms) {
    double comm_ms = 0;
    if (!overlaps(wrapper) || ranks < 2 || !isfinite(backward_ms) ||
            isnan(fabric_all_reduce_ms(
                    setting->fabric, setting->algorithm, ranks, 1))) {
        return NAN;
    }
    double alone = cell->backward_ms * (cell->strong ? 1.0 / ranks : 1);
    if (backward_ms <= alone) {
        return 0;
    }
    double low = 0, high = SLOWDOWN_MOST;
    struct forecast_setting tried = *setting;
    tried.slowdown = high;
    if (reduce_beside(cell, wrapper, &tried, ranks, &comm_ms).compute_ms <
            backward_ms) {
        return NAN;
    }
    for (int i = 0; i < 50; i++) { // Backward grows with it, so halving finds it.
        tried.slowdown = (low + high) / 2;
        if (reduce_beside(cell, wrapper, &tried, ranks, &comm_ms).compute_ms <
                backward_ms) {
            low = tried.slowdown;
        } else {
            high = tried.slowdown;
        }
    }
    return (low + high) / 2;
}
