#include "reports/forecast.h"

#include <math.h>
#include <stdlib.h>

#include "matrix/axes.h"
#include "reports/overlap.h"

#define TORCH_FIRST_BYTES 1048576.0 /* of its first bucket, if that is less */
#define TOKEN_BYTES 4
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
        "an even pace in elements; slices are cut between parameters, of at least "
        "bucket_mb each, of what is left an eighth of that by itself; a slice is ready "
        "when backward is through with its parameters, starts when the one before it "
        "is done, too, and takes T(slice). The token table is ready last. Where the "
        "tokens' rows of all ranks are fewer than twice the vocabulary (and a rank's "
        "are whole fours and whole 16 bytes, and an untied table is not accumulated) "
        "they are gathered in front of the last slice instead, when half of that is "
        "produced, in T(rows) ÷ "
        "2 and T(tokens) ÷ 2; then a tied table (gpt) is reduced first, an untied one "
        "does not travel. Exposed is what is left after backward. Under accumulation "
        "only the last micro-step's backward counts.",
        "sharded: reduce-scatters of T ÷ 2, of slices cut at multiples of 65,536 · W "
        "elements; the optimizer × (u + (1 − u) ÷ W), u fitted, or 0; the weights' "
        "all-gathers of T ÷ 2 start with forward, which waits for each slice that it "
        "needs. (torch: all-reduces of T in buckets of which the first has 1 MiB, and "
        "gathers after the optimizer.)",
        "while reductions are under way, backward takes (1 + s) times as long, and "
        "forward (1 + g) times while gathers are; s and g are fitted, or 0.",
        "T of reductions beside backward, of engine native: from a curve that was "
        "measured with NCCL_MAX_CTAS set, where there is one.",
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
        "the network gives its full speed. Each has a GPU, or threads' worth of cores, "
        "of its own: ranks that share cores are forecast far too well.",
        "Backward is taken to go through the parameters at an even pace; attention and "
        "norms, which have few, are spread over all of them.",
        "A smaller batch is taken to compute as efficiently as a large one, so strong "
        "scaling is forecast too well where the share of a rank becomes small.",
        "Without a curve measured with NCCL_MAX_CTAS set (tag `beside` of "
        "matrix/allreduce.yaml), reductions beside backward are taken to be as fast as "
        "those that are waited for, though they have fewer multiprocessors; what that "
        "adds is hidden in s, if it is fitted. Gathers, which go by copy engines where "
        "NCCL can, are taken to be half of a waited-for all-reduce; no curve of "
        "theirs is measured.",
        "Reduce-scatters of sharded that run beside products have fewer "
        "multiprocessors still than that curve's sums.",
        "The embedding's backward over the tokens of all ranks is taken to cost what "
        "it does for one rank's.",
        "That slices wait for the next attention where that takes as long as they do "
        "is left out.",
        "u, s and g are taken to be the same on any number of ranks.",
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

static double transfer_ms(const struct fabric *f, const struct forecast_setting *s,
        int ranks, double bytes, double part) {
    return part * fabric_all_reduce_ms(f, s->algorithm, ranks, bytes);
}

/* How far compute is, in elements: one computes with all but tables looked up in. */
struct progress {
    const struct layout *layout;
    double head;  /* of the table that the head computes with, too */
    double start; /* where the other parameters begin */
    double all;
};

static struct progress progress_of(const struct layout *l) {
    struct progress p = {.layout = l, .start = l->offsets[l->tables]};
    p.head = l->tied ? layout_size(l, 0) : 0;
    p.all = p.head + layout_elements(l) - p.start;
    return p;
}

/* The parameter that holds element `at`; the last one beyond the end. */
static int parameter_at(const struct layout *l, double at) {
    int low = 0, high = l->count;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        *(l->offsets[middle] <= at ? &low : &high) = middle;
    }
    return low;
}

/* The share of backward after which all from element `from` on is complete. */
static double produced(const struct progress *p, double from) {
    int first = parameter_at(p->layout, from);
    double rest = layout_elements(p->layout) - p->layout->offsets[first];
    return first < p->layout->tables ? 1 : (p->head + rest) / p->all;
}

/* The share of forward that does without what begins at element `from`. */
static double needed(const struct progress *p, double from) {
    int first = parameter_at(p->layout, from);
    double before = p->layout->offsets[first] - p->start;
    return first < p->layout->tables ? 0 : before / p->all;
}

/* The slices behind some parameters, as worker/ddp.c or torch cuts them. */
static struct layout_slices slices_of(const struct forecast_cell *c,
        const struct forecast_wrapper *w, int ranks, int behind) {
    double each = c->grad_bytes / layout_elements(&c->layout);
    double least = w->bucket_bytes / each;
    struct layout_cut cut = {.behind = behind,
            .least = least,
            .first = c->torch ? TORCH_FIRST_BYTES / each : least,
            .last = c->torch ? INFINITY : least / 8,
            .unit = w->ddp == DDP_SHARDED && !c->torch ? (double)LAYOUT_CHUNK * ranks
                                                       : 1};
    return layout_slice(&c->layout, &cut);
}

/* Whether `bucketed` gathers tokens' rows and leaves the token table where it is. */
static bool gathers_tokens(
        const struct forecast_cell *c, const struct forecast_wrapper *w, int ranks) {
    double rows = c->strong ? c->tokens / ranks : c->tokens;
    return w->ddp == DDP_BUCKETED && !c->torch && rows > 0 &&
           rows * ranks < 2 * c->layout.vocab && fmod(rows, 4) == 0 &&
           fmod(rows * c->row_bytes, 16) == 0 && (c->layout.tied || c->accumulate == 1);
}

/* Rows and tokens of all ranks, once half of the last slice is produced. */
static void plan_token_gathers(struct schedule *plan, const struct forecast_cell *c,
        const struct forecast_setting *s, int ranks, double before_last) {
    double rows = c->tokens * (c->strong ? 1 : ranks), at = (before_last + 1) / 2;
    add_transfer(plan, at, transfer_ms(s->fabric, s, ranks, rows * c->row_bytes, 0.5));
    add_transfer(plan, at, transfer_ms(s->fabric, s, ranks, rows * TOKEN_BYTES, 0.5));
}

/*
 * In backward's order. Where tokens are gathered a tied table goes first, an untied one
 * not at all, and the rows of all ranks in front of the last slice.
 */
static struct schedule plan_reductions(const struct forecast_cell *c,
        const struct forecast_wrapper *w, const struct forecast_setting *s, int ranks) {
    const struct fabric *beside = s->beside ? s->beside : s->fabric;
    bool gathers = gathers_tokens(c, w, ranks);
    int behind = gathers ? c->layout.tables : 0;
    struct layout_slices slices = slices_of(c, w, ranks, behind);
    struct progress p = progress_of(&c->layout);
    double each = c->grad_bytes / layout_elements(&c->layout);
    double part = w->ddp == DDP_SHARDED && !c->torch ? 0.5 : 1;
    struct schedule plan = {.transfers = text_allocate_zeroed(
                                    (size_t)slices.count + 3, sizeof *plan.transfers)};
    if (gathers && c->layout.tied) {
        add_transfer(&plan, p.head / p.all,
                transfer_ms(beside, s, ranks, p.start * each, part));
    }
    for (int i = 0; i < slices.count; i++) {
        const struct layout_slice *one = slices.items + i;
        if (gathers && i == slices.count - 1) {
            plan_token_gathers(&plan, c, s, ranks, produced(&p, one->to));
        }
        add_transfer(&plan, produced(&p, one->from),
                transfer_ms(beside, s, ranks, (one->to - one->from) * each, part));
    }
    free(slices.items);
    return plan;
}

/* In forward's order: the slices that were scattered, from the front. */
static struct schedule plan_gathers(const struct forecast_cell *c,
        const struct forecast_wrapper *w, const struct forecast_setting *s, int ranks) {
    struct layout_slices slices = slices_of(c, w, ranks, 0);
    struct progress p = progress_of(&c->layout);
    double each = c->weight_bytes / layout_elements(&c->layout);
    struct schedule plan = {.transfers = text_allocate_zeroed(
                                    (size_t)slices.count + 1, sizeof *plan.transfers)};
    for (int i = slices.count - 1; i >= 0; i--) {
        const struct layout_slice *one = slices.items + i;
        add_transfer(&plan, needed(&p, one->from),
                transfer_ms(s->fabric, s, ranks, (one->to - one->from) * each, 0.5));
    }
    free(slices.items);
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

/* One micro-step's forward on `ranks`, with the gathers that run beside it. */
static struct overlap gather_beside(const struct forecast_cell *c,
        const struct forecast_wrapper *w, const struct forecast_setting *s, int ranks,
        double *comm_ms) {
    double share = c->strong ? 1.0 / ranks : 1;
    double first = c->forward_ms * share / c->accumulate;
    struct schedule plan = plan_gathers(c, w, s, ranks);
    struct overlap o =
            overlap_needed(first, s->gather_slowdown, plan.transfers, plan.count);
    o.compute_ms += first * (c->accumulate - 1);
    if (c->torch) {
        o = (struct overlap){first * c->accumulate, plan.ms};
    }
    *comm_ms += plan.ms;
    free(plan.transfers);
    return o;
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
        double more = w->ddp == DDP_NAIVE ? (c->layout.count - 1) * hops : 0;
        out->comm_ms = out->exposed_ms = once + more;
    }
    if (w->ddp == DDP_SHARDED) {
        out->optimizer_ms *= s->undivided + (1 - s->undivided) / ranks;
        struct overlap o = gather_beside(c, w, s, ranks, &out->comm_ms);
        out->forward_ms = o.compute_ms;
        out->exposed_ms += o.exposed_ms;
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

/* -- fits ----------------------------------------------------------------------------
 */

typedef struct overlap beside(const struct forecast_cell *,
        const struct forecast_wrapper *, const struct forecast_setting *, int,
        double *);

/* The slowdown at which `run` computes for `wanted`; it grows with it. */
static double find_slowdown(beside *run, const struct forecast_cell *c,
        const struct forecast_wrapper *w, const struct forecast_setting *setting,
        int ranks, double wanted) {
    struct forecast_setting tried = *setting;
    double low = 0, high = 2 * SLOWDOWN_MOST, ignored = 0;
    for (int i = 0; i < 60; i++) { // The first try is the most.
        double middle = (low + high) / 2;
        tried.slowdown = tried.gather_slowdown = middle;
        bool less = run(c, w, &tried, ranks, &ignored).compute_ms < wanted;
        if (less && i == 0) {
            return NAN;
        }
        *(less ? &low : &high) = middle;
    }
    return (low + high) / 2;
}

static double fit(beside *run, const struct forecast_cell *c,
        const struct forecast_wrapper *w, const struct forecast_setting *s, int ranks,
        double alone, double found) {
    if (ranks < 2 || !isfinite(found) ||
            isnan(fabric_all_reduce_ms(s->fabric, s->algorithm, ranks, 1))) {
        return NAN;
    }
    alone *= c->strong ? 1.0 / ranks : 1;
    return found <= alone ? 0 : find_slowdown(run, c, w, s, ranks, found);
}

double forecast_fit_slowdown(const struct forecast_cell *cell,
        const struct forecast_wrapper *wrapper, const struct forecast_setting *setting,
        int ranks, double backward_ms) {
    return overlaps(wrapper) ? fit(reduce_beside, cell, wrapper, setting, ranks,
                                       cell->backward_ms, backward_ms)
                             : NAN;
}

double forecast_fit_gather_slowdown(const struct forecast_cell *cell,
        const struct forecast_wrapper *wrapper, const struct forecast_setting *setting,
        int ranks, double forward_ms) {
    return wrapper->ddp == DDP_SHARDED && !cell->torch
                   ? fit(gather_beside, cell, wrapper, setting, ranks, cell->forward_ms,
                             forward_ms)
                   : NAN;
}
