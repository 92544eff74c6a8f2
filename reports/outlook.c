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

static bool is_strong(const struct tally *t) {
    return params_integer(&t->cell->params, PARAM_GLOBAL_BATCH) > 0;
}

static bool is_native(const struct tally *t) {
    return params_integer(&t->cell->params, PARAM_ENGINE) == ENGINE_NATIVE;
}

static bool on_gpu(const struct tally *t) {
    return json_array_size(json_object_get(t->last->record.provenance, "gpus")) > 0;
}

static double or_zero(double x) {
    return isfinite(x) ? x : 0;
}

/* Tensors that the model's parameters are, as the worker lays them out. */
static double tensors_of(const struct params *p) {
    double layers = (double)params_integer(p, PARAM_LAYERS);
    return params_integer(p, PARAM_ARCH) == ARCH_GPT ? 12 * layers + 4 : 6 * layers + 3;
}

/* What the token table is to the communication of a step. */
static void read_table(struct forecast_cell *c, const struct tally *t) {
    const struct params *p = &t->cell->params;
    double vocab = (double)params_integer(p, PARAM_VOCAB);
    if (!(vocab > 0)) {
        vocab = fresh_provenance_number(&t->last->record, "vocab");
    }
    double channels = (double)params_integer(p, PARAM_D_MODEL);
    double share = vocab * channels / tally_metric(t, "params");
    // Without a vocabulary or a number of parameters: as if all were alike.
    c->table_share = share > 0 && share < 1 ? share : 0;
    c->tied = params_integer(p, PARAM_ARCH) == ARCH_GPT;
    double rows = (double)params_batch(p) * (double)params_integer(p, PARAM_SEQ_LEN);
    if (c->table_share > 0 && c->tied && is_native(t) && rows > 0) {
        int64_t precision = params_integer(p, PARAM_PRECISION);
        bool low = precision == PRECISION_BF16 || precision == PRECISION_FP16;
        c->token_bytes = rows * (channels * (low ? 2 : 4) + 4);
        // Shared out or not, the rows of all ranks must be fewer than two tables'.
        c->gather_most = ceil(2 * vocab / rows) - 1;
        if (c->strong) {
            double ranks = ranks_of(t);
            c->gather_most = rows * ranks < 2 * vocab ? INFINITY : 0;
            c->token_bytes *= ranks;
        }
    }
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
    double share = is_strong(t) ? ranks : 1;
    int64_t accumulate = params_integer(p, PARAM_ACCUMULATE);
    *c = (struct forecast_cell){.forward_ms = forward * scale * share,
            .backward_ms = backward * scale * share,
            .optimizer_ms = optimizer * scale * (sharded ? ranks : 1),
            .rest_ms = data * scale * share,
            .grad_bytes = grads,
            .weight_bytes = weights,
            .tensors = tensors_of(p),
            .accumulate = accumulate > 1 ? (int)accumulate : 1,
            .strong = is_strong(t),
            .late_gather = !is_native(t)};
    read_table(c, t);
    return true;
}

/* -- curves --------------------------------------------------------------------------
 */

static void add_curves(struct outlook *o, const struct tallies *all) {
    for (size_t i = 0; i < all->count; i++) {
        const struct tally *t = all->items + i;
        struct outlook_curve c = {.tally = t};
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
    if (on_gpu(c->tally) != on_gpu(t)) {
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
        const struct outlook *o, const struct tally *t, int ranks) {
    const struct outlook_curve *best = NULL;
    int most = -1;
    for (size_t i = 0; i < o->curve_count; i++) {
        int fit = fit_of(o->curves + i, t, ranks);
        if (fit > most) {
            most = fit;
            best = o->curves + i;
        }
    }
    return best;
}

static bool has_links(const struct outlook *o) {
    return o->question.links.link_bytes_per_s > 0;
}

struct fabric outlook_fabric(const struct outlook *o, const struct outlook_row *row) {
    struct fabric f = o->question.links;
    f.curve = row->curve ? &row->curve->curve : NULL;
    return f;
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
    const struct params *p = &t->cell->params;
    int64_t whole = params_integer(p, PARAM_GLOBAL_BATCH);
    const struct outlook_curve *curve = has_links(o) ? NULL : find_curve(o, t, ranks);
    if ((!curve && !has_links(o)) ||
            (whole && whole % (ranks * params_integer(p, PARAM_ACCUMULATE)) != 0)) {
        return NULL;
    }
    o->rows = text_reallocate(o->rows, (o->row_count + 1) * sizeof *o->rows);
    struct outlook_row *row = o->rows + o->row_count++;
    *row = (struct outlook_row){.base = base,
            .curve = curve,
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
                tally_counts(t) && t->scaling_base == b
                        ? take_row(o, base, first, ddp, bucket_mb_of(q), ranks_of(t))
                        : NULL;
        if (row && !row->measured) {
            row->measured = t;
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

/* How much longer backward took beside communication than alone. Only of weak scaling,
 * where it is the same backward, and of our engine: torch's counts that as exposed. */
static void fit_slowdown(struct outlook *o, size_t base) {
    struct outlook_base *b = o->bases + base;
    double *found = text_allocate_zeroed(o->row_count + 1, sizeof *found);
    double alone = tally_metric(b->tally, "backward_ms");
    size_t count = 0;
    for (size_t i = 0; i < o->row_count; i++) {
        const struct outlook_row *r = o->rows + i;
        if (r->base != base || !r->measured || b->cell.strong || !is_native(b->tally)) {
            continue;
        }
        struct fabric fabric = outlook_fabric(o, r);
        struct forecast_setting s = {.fabric = &fabric};
        double ratio = tally_metric(r->measured, "backward_ms") / alone;
        double slowdown = forecast_fit_slowdown(
                &b->cell, &r->wrapper, &s, r->ranks, b->cell.backward_ms * ratio);
        if (isfinite(slowdown)) {
            found[count++] = slowdown;
        }
    }
    b->slowdown = count ? stats_of(found, count).median : 0;
    b->fitted = count;
    free(found);
}

static void compute(struct outlook *o, struct outlook_row *r) {
    const struct outlook_base *b = o->bases + r->base;
    struct fabric fabric = outlook_fabric(o, r);
    struct forecast_setting s = {
            .fabric = &fabric, .algorithm = FABRIC_RING, .slowdown = b->slowdown};
    r->ring = forecast_step(&b->cell, &r->wrapper, &s, r->ranks);
    s.algorithm = FABRIC_TREE;
    r->tree = forecast_step(&b->cell, &r->wrapper, &s, r->ranks);
    double more = b->cell.strong ? 1 : (double)r->ranks / ranks_of(b->tally);
    r->tokens_per_s = tally_metric(b->tally, "tokens_per_s") * more *
                      tally_metric(b->tally, "step_ms_median") / r->ring.step_ms;
    if (r->measured) {
        double step = tally_metric(r->measured, "step_ms_median");
        r->error_pct = 100 * (stats_ratio(r->ring.step_ms, step) - 1);
    }
}

/* -- the whole -----------------------------------------------------------------------
 */

static void skip(struct outlook *o, const struct tally *t, const char *reason) {
    text_addf(&o->skipped, "%s: %s\n", t->cell->id, reason);
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
    if (!read_cell(&base.cell, t, &reason)) {
        skip(o, t, text_get(&reason));
    } else if (!has_links(o) && !find_curve(o, t, 2)) {
        skip(o, t, "there is no all-reduce curve of its kind of device");
    } else {
        o->bases = text_reallocate(o->bases, (o->base_count + 1) * sizeof *o->bases);
        o->bases[o->base_count++] = base;
        add_rows(o, all, o->base_count - 1);
        if (o->row_count == before) {
            skip(o, t,
                    "none of the ranks asked for is more than its own and shares out "
                    "its batch");
            o->base_count--;
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
        fit_slowdown(o, i);
    }
    for (size_t i = 0; i < o->row_count; i++) {
        compute(o, o->rows + i);
    }
}

void outlook_finish(struct outlook *o) {
    for (size_t i = 0; i < o->curve_count; i++) {
        fabric_curve_finish(&o->curves[i].curve);
    }
    free(o->curves);
    free(o->bases);
    free(o->rows);
    text_finish(&o->skipped);
    *o = (struct outlook){0};
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
