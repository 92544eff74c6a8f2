#include "reports/outlook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reports/derive.h"
#include "reports/fresh.h"

/* -- what a record tells -------------------------------------------------------------
 */

static int ranks_of(const struct tally *t) {
    return (int)params_integer(&t->cell->params, PARAM_RANKS);
}

static bool is_native(const struct tally *t) {
    return params_integer(&t->cell->params, PARAM_ENGINE) == ENGINE_NATIVE;
}

static double or_zero(double x) {
    return isfinite(x) ? x : 0;
}

/* What parameters there are, and the tokens whose rows may be gathered. */
static void read_model(struct forecast_cell *c, const struct tally *t) {
    const struct params *p = &t->cell->params;
    layout_init(&c->layout, p, fresh_provenance_number(&t->last->record, "vocab"),
            tally_metric(t, "params"));
    int64_t precision = params_integer(p, PARAM_PRECISION);
    bool low = precision == PRECISION_BF16 || precision == PRECISION_FP16;
    c->row_bytes = c->layout.channels * (low ? 2 : 4);
    c->tokens = (double)params_batch(p) * (double)params_integer(p, PARAM_SEQ_LEN) *
                (c->strong ? ranks_of(t) : 1);
}

/*
 * A step on one rank, from a cell of any: what its ranks exchanged is taken out. False,
 * with a reason, where the record lacks a phase.
 */
static bool read_cell(
        struct forecast_cell *c, const struct tally *t, struct text *reason) {
    const struct params *p = &t->cell->params;
    int ranks = ranks_of(t);
    bool sharded = params_integer(p, PARAM_DDP) == DDP_SHARDED;
    double step = tally_metric(t, "step_ms_median");
    double data = or_zero(tally_metric(t, "data_ms"));
    double forward = tally_metric(t, "forward_ms");
    double backward = tally_metric(t, "backward_ms");
    double optimizer = tally_metric(t, "optimizer_ms");
    double exposed = ranks > 1 ? or_zero(tally_metric(t, "comm_exposed_ms")) : 0;
    double grads = tally_metric(t, "grads_bytes");
    double weights = tally_metric(t, "params_bytes");
    double scale = step / (data + forward + backward + optimizer + exposed);
    if (!isfinite(scale) || !(scale > 0)) {
        return text_fail(reason, "its record has no step time or lacks a phase of it");
    }
    if (!(grads > 0) || !(weights > 0)) {
        return text_fail(reason, "its record has no bytes of gradients or weights");
    }
    double share = context_is_strong(&t->cell->params) ? ranks : 1;
    int64_t accumulate = params_integer(p, PARAM_ACCUMULATE);
    *c = (struct forecast_cell){.forward_ms = forward * scale * share,
            .backward_ms = backward * scale * share,
            .optimizer_ms = optimizer * scale * (sharded ? ranks : 1),
            .rest_ms = data * scale * share,
            .grad_bytes = grads,
            .weight_bytes = weights,
            .accumulate = accumulate > 1 ? (int)accumulate : 1,
            .strong = context_is_strong(&t->cell->params),
            .torch = !is_native(t)};
    read_model(c, t);
    return true;
}

/* -- curves --------------------------------------------------------------------------
 */

static void add_curves(struct outlook *o, const struct tallies *all) {
    for (size_t i = 0; i < all->count; i++) {
        const struct tally *t = all->items + i;
        struct outlook_curve c = {.tally = t,
                .beside = strstr(params_text(&t->cell->params, PARAM_ENV),
                                  "\"NCCL_MAX_CTAS\"") != NULL};
        o->stale_curves += t->stale && t->last && t->last->record.allreduce;
        if (tally_counts(t) && t->last->record.allreduce &&
                fabric_curve_read(&c.curve, t->last->record.allreduce, ranks_of(t))) {
            o->curves = text_reallocate(
                    o->curves, (o->curve_count + 1) * sizeof *o->curves);
            o->curves[o->curve_count++] = c;
        }
    }
}

/* Whether a curve is of the type that the cell's gradients have; by their size. */
static bool same_type(const struct outlook_curve *c, const struct tally *t) {
    int64_t precision = params_integer(&c->tally->cell->params, PARAM_PRECISION);
    bool low = precision == PRECISION_BF16 || precision == PRECISION_FP16;
    double each = tally_metric(t, "grads_bytes") / tally_metric(t, "params");
    return isfinite(each) && (each < 3) == low;
}

/* How well a curve fits a cell on `ranks`; negative: not at all. */
static int fit_of(const struct outlook_curve *c, const struct tally *t, int ranks) {
    struct text a = {0}, b = {0};
    fresh_provenance(&c->tally->last->record, "device", &a);
    fresh_provenance(&t->last->record, "device", &b);
    bool same = a.size && a.size == b.size && !strcmp(text_get(&a), text_get(&b));
    text_finish(&a);
    text_finish(&b);
    if (tally_on_gpu(c->tally) != tally_on_gpu(t)) {
        return -1;
    }
    int fit = same ? 1 << 24 : 0;
    fit += is_native(c->tally) == is_native(t) ? 1 << 22 : 0;
    fit += same_type(c, t) ? 1 << 21 : 0;
    // The ranks themselves, else the most that are fewer, else the fewest.
    int measured = c->curve.ranks < 1 << 16 ? c->curve.ranks : 1 << 16;
    return fit + (measured == ranks         ? 1 << 20
                         : measured < ranks ? (1 << 17) + measured
                                            : (1 << 16) - measured);
}

static const struct outlook_curve *find_curve(
        const struct outlook *o, const struct tally *t, int ranks, bool beside) {
    const struct outlook_curve *best = NULL;
    int most = -1;
    for (size_t i = 0; i < o->curve_count; i++) {
        int fit = fit_of(o->curves + i, t, ranks);
        if (o->curves[i].beside == beside && fit > most) {
            most = fit;
            best = o->curves + i;
        }
    }
    return best;
}

/* Only our engine leaves NCCL less beside computation. */
static const struct outlook_curve *find_beside(
        const struct outlook *o, const struct tally *t, int ddp, int ranks) {
    bool overlaps = ddp == DDP_BUCKETED || ddp == DDP_SHARDED;
    return overlaps && is_native(t) ? find_curve(o, t, ranks, true) : NULL;
}

static bool has_links(const struct outlook *o) {
    return o->question.links.link_bytes_per_s > 0;
}

/* How a row's ranks are joined; `fabrics` hold what the setting points to. */
static struct forecast_setting setting_of(const struct outlook *o,
        const struct outlook_row *r, struct fabric fabrics[2]) {
    const struct outlook_base *b = o->bases + r->base;
    fabrics[0] = o->question.links;
    if (r->measured) {
        fabrics->per_node = r->ranks; // runs of one host are all that there are
    }
    fabrics[1] = fabrics[0];
    fabrics[0].curve = r->curve ? &r->curve->curve : NULL;
    fabrics[1].curve = r->beside ? &r->beside->curve : NULL;
    return (struct forecast_setting){.fabric = fabrics,
            .beside = r->beside ? fabrics + 1 : NULL,
            .algorithm = FABRIC_RING,
            .slowdown = b->slowdown,
            .gather_slowdown = b->gather_slowdown,
            .undivided = b->undivided};
}

/* -- rows ----------------------------------------------------------------------------
 */

static double bucket_mb_of(const struct params *p) {
    int64_t ddp = params_integer(p, PARAM_DDP);
    return ddp == DDP_NAIVE || ddp == DDP_FLAT ? NAN : params_real(p, PARAM_BUCKET_MB);
}

static struct forecast_wrapper wrapper_of(int ddp, double bucket_mb) {
    return (struct forecast_wrapper){ddp, bucket_mb * 1048576};
}

static bool same_wrapper(const struct outlook_row *r, int ddp, double bucket_mb) {
    return r->wrapper.ddp == ddp &&
           (r->bucket_mb == bucket_mb || (isnan(r->bucket_mb) && isnan(bucket_mb)));
}

/* Whether so many ranks can have a batch in equal parts. */
static bool is_divided(const struct params *p, int ranks) {
    int64_t whole = params_integer(p, PARAM_GLOBAL_BATCH);
    return whole % (ranks * params_integer(p, PARAM_ACCUMULATE)) == 0;
}

/* The row of that base, wrapper and ranks, made where there is none. NULL where it
 * cannot be: no curve, or a batch that so many ranks cannot share out. */
static struct outlook_row *take_row(struct outlook *o, size_t base, size_t first,
        int ddp, double bucket_mb, int ranks) {
    for (size_t i = first; i < o->row_count; i++) {
        if (o->rows[i].ranks == ranks && same_wrapper(o->rows + i, ddp, bucket_mb)) {
            return o->rows + i;
        }
    }
    const struct tally *t = o->bases[base].tally;
    const struct outlook_curve *curve =
            has_links(o) ? NULL : find_curve(o, t, ranks, false);
    if ((!curve && !has_links(o)) || !is_divided(&t->cell->params, ranks)) {
        return NULL;
    }
    o->rows = text_reallocate(o->rows, (o->row_count + 1) * sizeof *o->rows);
    struct outlook_row *row = o->rows + o->row_count++;
    *row = (struct outlook_row){.base = base,
            .curve = curve,
            .beside = has_links(o) ? NULL : find_beside(o, t, ddp, ranks),
            .wrapper = wrapper_of(ddp, bucket_mb),
            .bucket_mb = bucket_mb,
            .ranks = ranks,
            .nodes = fabric_nodes(&o->question.links, ranks),
            .error_pct = NAN};
    return row;
}

static bool is_wanted(const struct outlook *o, const struct tally *t) {
    return !o->question.selected_only || t->cell->selected;
}

/* Where a one-rank cell ran on several GPUs, the first that is wanted stands for all.
 */
static const struct tally *stand_in(const struct outlook *o, const struct tallies *all,
        const struct tally *single) {
    const struct tally *first = single;
    for (size_t i = 0; i < all->count; i++) {
        const struct tally *t = all->items + i;
        if (ranks_of(t) == 1 && tally_counts(t) && is_wanted(o, t) &&
                derive_is_series(single, t) &&
                tally_threads(t) == tally_threads(single) &&
                context_compare_value(
                        &t->cell->params, &first->cell->params, PARAM_FIRST_GPU) < 0) {
            first = t;
        }
    }
    return first;
}

/* Whether `t` is held against `b`, on whichever GPU, or against an equal cell that
 * nobody asks about. */
static bool is_held_against(const struct outlook *o, const struct tallies *all,
        const struct tally *t, const struct tally *b) {
    const struct tally *base = t->scaling_base;
    return base && (base == b || stand_in(o, all, base) == b ||
                           (!is_wanted(o, base) &&
                                   strcmp(base->cell->hash, b->cell->hash) == 0));
}

/* Rows of one wrapper: the ranks that were asked for. */
static void ask(
        struct outlook *o, size_t base, size_t first, int ddp, double bucket_mb) {
    int least = ranks_of(o->bases[base].tally);
    for (size_t i = 0; i < o->question.rank_count; i++) {
        if (o->question.ranks[i] > least) {
            take_row(o, base, first, ddp, bucket_mb, o->question.ranks[i]);
        }
    }
}

/* Every wrapper that the base's series has and that is wanted; else all there are. */
static void add_rows(struct outlook *o, const struct tallies *all, size_t base) {
    const struct tally *b = o->bases[base].tally;
    const struct params *p = &b->cell->params;
    size_t first = o->row_count;
    bool any = ranks_of(b) > 1;
    if (any) {
        ask(o, base, first, (int)params_integer(p, PARAM_DDP), bucket_mb_of(p));
    }
    for (size_t i = 0; i < all->count && ranks_of(b) == 1; i++) {
        const struct tally *t = all->items + i;
        const struct params *q = &t->cell->params;
        if (ranks_of(t) < 2 || !derive_is_series(b, t) || !is_wanted(o, t)) {
            continue;
        }
        any = true;
        int ddp = (int)params_integer(q, PARAM_DDP);
        ask(o, base, first, ddp, bucket_mb_of(q));
        struct outlook_row *row =
                tally_counts(t) && is_held_against(o, all, t, b)
                        ? take_row(o, base, first, ddp, bucket_mb_of(q), ranks_of(t))
                        : NULL;
        if (row && !row->measured) {
            row->measured = t;
            row->nodes = 1;
        }
    }
    for (int ddp = DDP_NAIVE; !any && ddp <= DDP_SHARDED; ddp++) {
        bool buckets = ddp == DDP_BUCKETED || ddp == DDP_SHARDED;
        ask(o, base, first, ddp, buckets ? params_real(p, PARAM_BUCKET_MB) : NAN);
    }
}

static int by_place(const void *a, const void *b) {
    const struct outlook_row *x = a, *y = b;
    if (x->base != y->base) {
        return x->base < y->base ? -1 : 1;
    }
    if (x->wrapper.ddp != y->wrapper.ddp) {
        return x->wrapper.ddp - y->wrapper.ddp;
    }
    if (x->bucket_mb != y->bucket_mb && !isnan(x->bucket_mb)) {
        return x->bucket_mb < y->bucket_mb ? -1 : 1;
    }
    return x->ranks - y->ranks;
}

/* -- numbers -------------------------------------------------------------------------
 */

/* A phase of a measured row against the base's own. */
static double ratio_of(
        const struct outlook_row *r, const struct outlook_base *b, const char *phase) {
    return stats_ratio(tally_metric(r->measured, phase), tally_metric(b->tally, phase));
}

/* Whether a row was measured as it is forecast: each rank with cores of its own. */
static bool is_evidence(const struct outlook_row *r) {
    return r->measured && !tally_shares_cores(r->measured);
}

/* The median of what is known; 0 of none. */
static double median_of(const double *found, size_t count) {
    return count ? stats_of(found, count).median : 0;
}

/*
 * How much longer backward took beside reductions than alone, forward beside gathers,
 * and what of the optimizer was not divided. Only of weak scaling, where it is the same
 * work, and of our engine: torch's counts communication as exposed.
 */
static void fit(struct outlook *o, size_t base) {
    struct outlook_base *b = o->bases + base;
    double *found = text_allocate_zeroed(3 * o->row_count + 1, sizeof *found);
    double *gather = found + o->row_count, *undivided = gather + o->row_count;
    size_t count = 0, sharded = 0;
    for (size_t i = 0; i < o->row_count; i++) {
        const struct outlook_row *r = o->rows + i;
        if (r->base != base || !is_evidence(r) || b->cell.strong ||
                !is_native(b->tally)) {
            continue;
        }
        struct fabric fabrics[2];
        struct forecast_setting s = setting_of(o, r, fabrics);
        double backward = b->cell.backward_ms * ratio_of(r, b, "backward_ms");
        double forward = b->cell.forward_ms * ratio_of(r, b, "forward_ms");
        double optimizer = ratio_of(r, b, "optimizer_ms");
        double one =
                forecast_fit_slowdown(&b->cell, &r->wrapper, &s, r->ranks, backward);
        if (isfinite(one)) {
            found[count++] = one;
        }
        one = forecast_fit_gather_slowdown(
                &b->cell, &r->wrapper, &s, r->ranks, forward);
        if (isfinite(one) && isfinite(optimizer)) {
            double share = (optimizer * r->ranks - 1) / (r->ranks - 1);
            gather[sharded] = one;
            undivided[sharded++] = fmin(1, fmax(0, share));
        }
    }
    b->slowdown = median_of(found, count);
    b->fitted = count;
    b->gather_slowdown = median_of(gather, sharded);
    b->undivided = median_of(undivided, sharded);
    b->fitted_sharded = sharded;
    free(found);
}

static void compute(struct outlook *o, struct outlook_row *r) {
    const struct outlook_base *b = o->bases + r->base;
    struct fabric fabrics[2];
    struct forecast_setting s = setting_of(o, r, fabrics);
    r->ring = forecast_step(&b->cell, &r->wrapper, &s, r->ranks);
    s.algorithm = FABRIC_TREE;
    r->tree = forecast_step(&b->cell, &r->wrapper, &s, r->ranks);
    double more = b->cell.strong ? 1 : (double)r->ranks / ranks_of(b->tally);
    r->tokens_per_s = tally_metric(b->tally, "tokens_per_s") * more *
                      tally_metric(b->tally, "step_ms_median") / r->ring.step_ms;
    if (is_evidence(r)) {
        double step = tally_metric(r->measured, "step_ms_median");
        r->error_pct = 100 * (stats_ratio(r->ring.step_ms, step) - 1);
    }
}

/* -- the whole -----------------------------------------------------------------------
 */

static void skip(struct outlook *o, const struct tally *t, const char *reason) {
    text_addf(&o->skipped, "%s: %s\n", t->cell->id, reason);
}

/* The ranks asked for that cannot share out the batch of a cell that others can. */
static void skip_undivided(struct outlook *o, const struct tally *t) {
    const struct params *p = &t->cell->params;
    struct text reason = {0};
    for (size_t i = 0; i < o->question.rank_count; i++) {
        int ranks = o->question.ranks[i];
        if (ranks > ranks_of(t) && !is_divided(p, ranks)) {
            text_clear(&reason);
            text_addf(&reason, "%d ranks cannot share out its %lld sequences", ranks,
                    (long long)params_integer(p, PARAM_GLOBAL_BATCH));
            skip(o, t, text_get(&reason));
        }
    }
    text_finish(&reason);
}

/* One rank, or several whose one-rank cell is not there. */
static bool may_be_base(const struct tally *t) {
    return !t->cell->excluded && tally_trains(t) && tally_counts(t) &&
           (ranks_of(t) == 1 || !t->scaling_base);
}

static void add_base(
        struct outlook *o, const struct tallies *all, const struct tally *t) {
    struct outlook_base base = {.tally = t};
    struct text reason = {0};
    size_t before = o->row_count;
    const struct tally *first = ranks_of(t) == 1 ? stand_in(o, all, t) : t;
    if (first != t) {
        text_addf(&reason, "it starts from the first GPU's, '%s'", first->cell->id);
        skip(o, t, text_get(&reason));
    } else if (!has_links(o) && !find_curve(o, t, 2, false)) {
        skip(o, t, "there is no all-reduce curve of its kind of device");
    } else if (tally_shares_cores(t)) {
        skip(o, t, "its threads took turns: they were more than the machine has cores");
    } else if (!read_cell(&base.cell, t, &reason)) {
        skip(o, t, text_get(&reason));
    } else {
        o->bases = text_reallocate(o->bases, (o->base_count + 1) * sizeof *o->bases);
        o->bases[o->base_count++] = base;
        add_rows(o, all, o->base_count - 1);
        if (o->row_count == before) {
            skip(o, t,
                    "none of the ranks asked for is more than its own and shares out "
                    "its batch");
            layout_finish(&o->bases[--o->base_count].cell.layout);
        } else {
            skip_undivided(o, t);
        }
    }
    text_finish(&reason);
}

void outlook_init(struct outlook *o, const struct tallies *const *all, size_t count,
        const struct outlook_question *question) {
    *o = (struct outlook){.question = *question};
    for (size_t i = 0; i < count && !has_links(o); i++) {
        add_curves(o, all[i]);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < all[i]->count; k++) {
            const struct tally *t = all[i]->items + k;
            if (may_be_base(t) && is_wanted(o, t)) {
                add_base(o, all[i], t);
            }
        }
    }
    if (o->row_count) {
        qsort(o->rows, o->row_count, sizeof *o->rows, by_place);
    }
    for (size_t i = 0; i < o->base_count; i++) {
        fit(o, i);
    }
    for (size_t i = 0; i < o->row_count; i++) {
        compute(o, o->rows + i);
    }
}

void outlook_finish(struct outlook *o) {
    for (size_t i = 0; i < o->curve_count; i++) {
        fabric_curve_finish(&o->curves[i].curve);
    }
    for (size_t i = 0; i < o->base_count; i++) {
        layout_finish(&o->bases[i].cell.layout);
    }
    free(o->curves);
    free(o->bases);
    free(o->rows);
    text_finish(&o->skipped);
    *o = (struct outlook){0};
}

double outlook_measured_efficiency(
        const struct outlook *o, const struct outlook_row *r) {
    const struct tally *t = r->measured, *base = o->bases[r->base].tally;
    if (!t || !isfinite(tally_metric(t, "scaling_efficiency"))) {
        return NAN;
    }
    return stats_ratio(tally_metric(t, "tokens_per_s"),
            r->ranks * tally_metric(base, "tokens_per_s"));
}

struct stats outlook_errors(const struct outlook *o) {
    double *errors = text_allocate_zeroed(o->row_count + 1, sizeof *errors);
    size_t count = 0;
    for (size_t i = 0; i < o->row_count; i++) {
        if (isfinite(o->rows[i].error_pct)) {
            errors[count++] = fabs(o->rows[i].error_pct);
        }
    }
    struct stats s = stats_of(errors, count);
    free(errors);
    return s;
}
