#include "reports/outlook_markdown.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "reports/human.h"
#include "reports/markdown.h"

static void add_columns(struct table *t, bool all) {
    if (all) {
        table_add_code(t, "cell", "from");
    }
    table_add_code(t, "ddp", "wrapper");
    table_add_number(t, "bucket_mb", "bucket MiB", HUMAN_PLAIN);
    table_add_number(t, "ranks", "ranks", HUMAN_COUNT);
    table_add_number(t, "nodes", "nodes", HUMAN_COUNT);
    table_add_number(t, "step_ms", "step", HUMAN_MS);
    table_add_number(t, "comm_ms", "communication", HUMAN_MS);
    table_add_number(t, "comm_exposed_ms", "not hidden", HUMAN_MS);
    table_add_number(t, "tokens_per_s", "tokens/s", HUMAN_SHORT);
    table_add_number(t, "speedup", "speed-up", HUMAN_RATIO);
    table_add_number(t, "efficiency_pct", "efficiency", HUMAN_PERCENT);
    table_add_number(t, "tree_efficiency_pct", "by a tree", HUMAN_PERCENT);
    table_add_number(t, "measured_pct", "efficiency, measured", HUMAN_PERCENT);
    table_add_number(t, "error_pct", "error of the step", HUMAN_CHANGE);
    table_add_code(t, "curve", "curve");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_code(t, "curve_beside", "curve beside backward");
    table_show_last(t, TABLE_CSV_ONLY);
}

static const char *ddp_name(int ddp) {
    return axes_get(PARAM_DDP)->choices[ddp];
}

static void add_row(struct table *t, const struct outlook *o,
        const struct outlook_row *r, bool all) {
    table_row(t);
    if (all) {
        table_put_text(t, o->bases[r->base].tally->cell->id);
    }
    table_put_text(t, ddp_name(r->wrapper.ddp));
    table_put_number(t, r->bucket_mb);
    table_put_number(t, r->ranks);
    table_put_number(t, r->nodes > 1 ? r->nodes : NAN);
    table_put_number(t, r->ring.step_ms);
    table_put_number(t, r->ring.comm_ms);
    table_put_number(t, r->ring.exposed_ms);
    table_put_number(t, r->tokens_per_s);
    table_put_number(t, r->ring.speedup);
    table_put_number(t, 100 * r->ring.efficiency);
    table_put_number(t, r->nodes > 1 ? 100 * r->tree.efficiency : NAN);
    table_put_number(t, 100 * outlook_measured_efficiency(o, r));
    table_put_number(t, r->error_pct);
    table_put_text(t, r->curve ? r->curve->tally->cell->id : "");
    table_put_text(t, r->beside ? r->beside->tally->cell->id : "");
}

void outlook_markdown_table(struct table *t, const struct outlook *o, size_t base) {
    bool all = base == SIZE_MAX;
    add_columns(t, all);
    for (size_t i = 0; i < o->row_count; i++) {
        if (all || o->rows[i].base == base) {
            add_row(t, o, o->rows + i, all);
        }
    }
}

static void add_curve(struct text *out, const struct outlook_curve *c) {
    const struct fabric_point *last = c->curve.points + c->curve.count - 1;
    double ranks = c->curve.ranks;
    text_add(out, "the curve of ");
    markdown_add_code(out, c->tally->cell->id);
    text_addf(out, " (%.0f ranks, a hop of %.3g \xc2\xb5s, %.4g GB/s on the bus at ",
            ranks, 1e3 * c->curve.points->ms / (2 * (ranks - 1)),
            last->bytes * 2 * (ranks - 1) / ranks / last->ms / 1e6);
    human_number(out, HUMAN_BYTES, last->bytes);
    text_add(out, ")");
}

static const struct outlook_curve *curve_of(const struct outlook_row *r, bool beside) {
    return beside ? r->beside : r->curve;
}

/* Whether a row before `row`, of the same base, is of the same ranks and curve. */
static bool is_told(const struct outlook *o, size_t row, bool beside, bool same_ranks) {
    const struct outlook_row *r = o->rows + row;
    for (size_t i = row; i-- > 0 && o->rows[i].base == r->base;) {
        if (curve_of(o->rows + i, beside) == curve_of(r, beside) &&
                (!same_ranks || o->rows[i].ranks == r->ranks)) {
            return true;
        }
    }
    return false;
}

/* Each curve that rows from `first` on use, and on how many ranks. */
static size_t add_curves(
        struct text *out, const struct outlook *o, size_t first, bool beside) {
    size_t base = o->rows[first].base, curves = 0;
    for (size_t i = first; i < o->row_count && o->rows[i].base == base; i++) {
        const struct outlook_curve *c = curve_of(o->rows + i, beside);
        if (!c || is_told(o, i, beside, false)) {
            continue;
        }
        text_add(out, curves++ ? "; on " : "on ");
        const char *gap = "";
        for (size_t k = i; k < o->row_count && o->rows[k].base == base; k++) {
            if (curve_of(o->rows + k, beside) == c && !is_told(o, k, beside, true)) {
                text_addf(out, "%s%d", gap, o->rows[k].ranks);
                gap = ", ";
            }
        }
        text_add(out, " ranks ");
        add_curve(out, c);
    }
    return curves;
}

static void add_links(struct text *out, const struct fabric *f, bool curve) {
    const char *gap = "";
    if (!curve) {
        text_addf(out, "a link of %.6g GB/s and hops of %.6g \xc2\xb5s",
                f->link_bytes_per_s / 1e9, 1e3 * f->hop_ms);
        gap = "; ";
    }
    if (f->network_bytes_per_s > 0) {
        text_addf(out,
                "%sbetween nodes of %d ranks %.6g GB/s and hops of %.6g \xc2\xb5s", gap,
                f->per_node, f->network_bytes_per_s / 1e9, 1e3 * f->network_hop_ms);
    }
}

static void add_fits(struct text *out, const struct outlook_base *b) {
    if (b->fitted) {
        text_addf(out, ". Reductions slow backward by %.1f %%, fitted to ",
                100 * b->slowdown);
        human_plural(out, b->fitted, "measured backward");
    }
    if (b->fitted_sharded) {
        text_addf(out,
                ". Gathers slow forward by %.1f %%, and %.1f %% of the optimizer is "
                "not "
                "divided, fitted to ",
                100 * b->gather_slowdown, 100 * b->undivided);
        human_plural(out, b->fitted_sharded, "measured row");
        text_add(out, " of `sharded`");
    }
}

/* What a base's rows start from. */
static void add_inputs(
        struct text *out, const struct outlook *o, size_t base, size_t row) {
    const struct outlook_row *first = o->rows + row;
    const struct outlook_base *b = o->bases + base;
    const struct forecast_cell *c = &b->cell;
    double step = c->rest_ms + c->forward_ms + c->backward_ms + c->optimizer_ms;
    int64_t ranks = params_integer(&b->tally->cell->params, PARAM_RANKS);
    human_phrase(out,
            ranks > 1 ? "Not measured on one rank; taken to be " : "On one rank ",
            HUMAN_MS, step, " a step");
    human_phrase(out, ": data ", HUMAN_MS, c->rest_ms, "");
    human_phrase(out, ", forward ", HUMAN_MS, c->forward_ms, "");
    human_phrase(out, ", backward ", HUMAN_MS, c->backward_ms, "");
    human_phrase(out, ", optimizer ", HUMAN_MS, c->optimizer_ms, ". ");
    human_number(out, HUMAN_BYTES, c->grad_bytes);
    text_addf(out,
            " of gradients in %d tensors; %s scaling. All-reduces: ", c->layout.count,
            c->strong ? "strong" : "weak");
    (void)add_curves(out, o, row, false);
    if (!first->curve || o->question.links.network_bytes_per_s > 0) {
        text_add(out, first->curve ? "; " : "");
        add_links(out, &o->question.links, first->curve != NULL);
    }
    struct text beside = {0};
    if (add_curves(&beside, o, row, true)) {
        text_addf(out, ". Beside backward: %s", text_get(&beside));
    }
    text_finish(&beside);
    add_fits(out, b);
    text_add(out, ".\n\n");
}

/* Measured rows that nothing is held against; how many. */
static size_t add_sharing(struct text *out, const struct outlook *o) {
    size_t sharing = 0;
    for (size_t i = 0; i < o->row_count; i++) {
        const struct tally *t = o->rows[i].measured;
        sharing += t && tally_shares_cores(t);
    }
    if (sharing) {
        text_add(out, "In ");
        human_plural(out, sharing, "measured row");
        text_add(out, " ranks had more threads than the machine has cores and took "
                      "turns: nothing is fitted to them, and no error told.\n\n");
    }
    return sharing;
}

void outlook_markdown_add_errors(struct text *out, const struct outlook *o) {
    struct stats s = outlook_errors(o);
    const char *which = add_sharing(out, o) ? "other" : "such";
    if (!s.count) {
        text_addf(out,
                "No %s row was measured on several ranks, so nothing here says how far "
                "off the forecast is.\n\n",
                which);
        return;
    }
    bool fitted = false;
    for (size_t i = 0; i < o->base_count; i++) {
        fitted |= o->bases[i].fitted > 0 || o->bases[i].fitted_sharded > 0;
    }
    text_add(out, "Over ");
    human_plural(out, s.count, "measured row");
    human_phrase(
            out, " the step's error is ", HUMAN_PERCENT, s.median, " at the median");
    human_phrase(out, ", ", HUMAN_PERCENT, s.maximum, " at most");
    text_add(out, fitted ? "; slowdowns, and what of an optimizer is not divided, were "
                           "fitted to phases of the same rows, so they are no "
                           "independent proof.\n\n"
                         : ".\n\n");
}

/* Cells of two matrices may have one name. */
static bool has_several_matrices(const struct outlook *o) {
    for (size_t i = 1; i < o->base_count; i++) {
        if (strcmp(o->bases[i].tally->cell->matrix, o->bases->tally->cell->matrix)) {
            return true;
        }
    }
    return false;
}

static void add_measured(struct text *out, const struct outlook *o) {
    struct table t = {0};
    bool several = has_several_matrices(o);
    table_add_text(&t, "matrix", "matrix");
    table_add_code(&t, "cell", "cell");
    table_add_number(&t, "step_ms", "step: forecast", HUMAN_MS);
    table_add_number(&t, "measured_step_ms", "measured", HUMAN_MS);
    table_add_number(&t, "error_pct", "error", HUMAN_CHANGE);
    table_add_number(&t, "exposed_ms", "not hidden: forecast", HUMAN_MS);
    table_add_number(&t, "measured_exposed_ms", "measured", HUMAN_MS);
    table_add_number(&t, "efficiency_pct", "efficiency: forecast", HUMAN_PERCENT);
    table_add_number(&t, "measured_efficiency_pct", "measured", HUMAN_PERCENT);
    for (size_t i = 0; i < o->row_count; i++) {
        const struct outlook_row *r = o->rows + i;
        if (r->measured) {
            table_row(&t);
            table_put_text(&t, several ? r->measured->cell->matrix : "");
            table_put_text(&t, r->measured->cell->id);
            table_put_number(&t, r->ring.step_ms);
            table_put_number(&t, tally_metric(r->measured, "step_ms_median"));
            table_put_number(&t, r->error_pct);
            table_put_number(&t, r->ring.exposed_ms);
            table_put_number(&t, tally_metric(r->measured, "comm_exposed_ms"));
            table_put_number(&t, 100 * r->ring.efficiency);
            table_put_number(&t, 100 * outlook_measured_efficiency(o, r));
        }
    }
    text_add(out, "## Against what was measured\n\n");
    outlook_markdown_add_errors(out, o);
    markdown_add_table(out, &t, SIZE_MAX, "");
    table_finish(&t);
}

static void add_sentences(
        struct text *out, const char *title, const char *const *sentences) {
    text_addf(out, "## %s\n\n", title);
    for (; *sentences; sentences++) {
        text_addf(out, "- %s\n", *sentences);
    }
    text_add(out, "\n");
}

static void add_skipped(struct text *out, const struct outlook *o) {
    if (!o->skipped.size) {
        return;
    }
    text_add(out, "## Not forecast\n\n");
    for (const char *line = text_get(&o->skipped); *line;) {
        struct text one = {0};
        size_t size = 0;
        while (line[size] != '\n') {
            size++;
        }
        text_add_bytes(&one, line, size);
        text_add(out, "- ");
        markdown_add_text(out, text_get(&one));
        text_add(out, "\n");
        text_finish(&one);
        line += size + 1;
    }
    text_add(out, "\n");
}

void outlook_markdown_add(struct text *out, const struct outlook *o) {
    text_add(out, "# Forecast\n\n");
    for (size_t i = 0, row = 0; i < o->base_count; i++) {
        while (o->rows[row].base != i) {
            row++;
        }
        struct table t = {0};
        text_add(out, "## ");
        if (has_several_matrices(o)) {
            markdown_add_text(out, o->bases[i].tally->cell->matrix);
            text_add(out, ": ");
        }
        markdown_add_code(out, o->bases[i].tally->cell->id);
        text_add(out, "\n\n");
        add_inputs(out, o, i, row);
        outlook_markdown_table(&t, o, i);
        markdown_add_table(out, &t, SIZE_MAX, "");
        table_finish(&t);
    }
    add_measured(out, o);
    add_skipped(out, o);
    add_sentences(out, "The model", forecast_model);
    add_sentences(out, "Its limits", forecast_limits);
}
