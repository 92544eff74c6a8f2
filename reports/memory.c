/* Memory by kind: what was planned, what was measured, what the witness saw. */
#include <math.h>
#include <string.h>

#include "reports/page.h"

static const char *const kinds[] = {
        "params", "grads", "optimizer", "activations", "scratch", "library"};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds };
static const char *const kind_titles[] = {
        "parameters", "gradients", "optimizer", "activations", "scratch", "library"};
static const char *const planned_names[] = {"params_planned_bytes",
        "grads_planned_bytes", "optimizer_planned_bytes", "activations_planned_bytes",
        "scratch_planned_bytes", "library_planned_bytes"};
static const char *const kind_metrics[] = {"params_bytes", "grads_bytes",
        "optimizer_bytes", "activations_bytes", "scratch_bytes", "library_bytes"};

// One field of a kind in the record's memory list; NAN where it is unknown.
static double recorded(const struct tally *o, const char *kind, const char *field) {
    if (!o->last) {
        return NAN;
    }
    size_t i;
    json_t *item;
    json_array_foreach(o->last->record.memory, i, item) {
        const char *name = json_string_value(json_object_get(item, "kind"));
        if (name && strcmp(name, kind) == 0) {
            const json_t *v = json_object_get(item, field);
            return json_is_number(v) ? json_number_value(v) : NAN;
        }
    }
    return NAN;
}

static double measured(const struct tally *o, int kind) {
    double x = tally_metric(o, kind_metrics[kind]);
    return isfinite(x) ? x : recorded(o, kinds[kind], "measured_bytes");
}

// "12.3 MiB", or "12.3 MiB, 12.9 MiB planned" where the two differ.
static void put_kind(struct table *t, double measured_bytes, double planned_bytes) {
    struct text both = {0};
    table_put_number(t, measured_bytes);
    table_put_number(t, planned_bytes);
    human_number(&both, HUMAN_BYTES, measured_bytes);
    if (isfinite(planned_bytes) && planned_bytes != measured_bytes) {
        text_add(&both, both.size ? ", " : "");
        human_number(&both, HUMAN_BYTES, planned_bytes);
        text_add(&both, " planned");
    }
    table_put_text(t, text_get(&both));
    text_finish(&both);
}

static void add_columns(struct table *t) {
    table_add_code(t, "cell", "cell");
    table_add_text(t, "hash", "hash");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_text(t, "status", "status");
    table_show_last(t, TABLE_CSV_ONLY);
    for (int k = 0; k < KIND_COUNT; k++) {
        table_add_number(t, kind_metrics[k], kind_titles[k], HUMAN_BYTES);
        table_show_last(t, TABLE_CSV_ONLY);
        table_add_number(t, planned_names[k], planned_names[k], HUMAN_BYTES);
        table_show_last(t, TABLE_CSV_ONLY);
        table_add_text(t, kind_titles[k], kind_titles[k]);
        table_show_last(t, TABLE_PEOPLE_ONLY);
        table_right_last(t);
    }
    table_add_number(t, "planned_bytes", "planned", HUMAN_BYTES);
    table_add_number(t, "peak_bytes", "measured peak", HUMAN_BYTES);
    table_add_number(t, "forward_bytes", "after forward", HUMAN_BYTES);
    table_add_number(t, "backward_bytes", "after backward", HUMAN_BYTES);
    table_add_number(t, "witness_bytes", "witness", HUMAN_BYTES);
    table_add_number(t, "beyond_plan_bytes", "beyond the plan", HUMAN_BYTES);
    table_add_number(t, "context_bytes", "of that the context", HUMAN_BYTES);
    table_add_number(t, "handles_bytes", "library handles", HUMAN_BYTES);
    table_add_number(t, "nccl_bytes", "NCCL", HUMAN_BYTES);
    table_add_number(t, "rest_bytes", "rest", HUMAN_BYTES);
}

/* What the rows have, so that the page speaks of nothing else. */
struct traits {
    bool planned, compared, apart; /* a plan; one beside a peak; one that differs */
    bool owned;                    /* what CUDA and its libraries took */
    bool exceeding;                /* another engine's kinds, more than its peak */
};

// Another engine's kinds are each taken at a time of its own; ours are one plan's.
static bool exceeds_peak(const struct tally *o, double peak) {
    double sum = 0;
    for (int k = 0; k < KIND_COUNT; k++) {
        double bytes = measured(o, k);
        sum += isfinite(bytes) ? bytes : 0;
    }
    return params_integer(&o->cell->params, PARAM_ENGINE) != ENGINE_NATIVE &&
           sum > peak;
}

static void add_traits(struct traits *has, const struct tally *o) {
    double planned = tally_metric(o, "planned_bytes");
    double peak = tally_metric(o, "peak_bytes");
    bool compared = isfinite(planned) && isfinite(peak);
    has->planned |= isfinite(planned);
    has->compared |= compared;
    has->apart |= compared && planned != peak;
    has->owned |= isfinite(tally_metric(o, "context_bytes"));
    has->exceeding |= exceeds_peak(o, peak);
}

static void add_row(struct table *t, const struct tally *o) {
    double planned = tally_metric(o, "planned_bytes");
    double witness = tally_metric(o, "witness_bytes");
    table_row(t);
    table_put_text(t, o->cell->id);
    table_put_text(t, o->cell->hash);
    table_put_text(t, status_name(o->status));
    for (int k = 0; k < KIND_COUNT; k++) {
        put_kind(t, measured(o, k), recorded(o, kinds[k], "planned_bytes"));
    }
    table_put_number(t, planned);
    table_put_number(t, tally_metric(o, "peak_bytes"));
    table_put_number(t, tally_metric(o, "forward_bytes"));
    table_put_number(t, tally_metric(o, "backward_bytes"));
    table_put_number(t, witness);
    table_put_number(t, witness - planned);
    table_put_number(t, tally_metric(o, "context_bytes"));
    table_put_number(t, tally_metric(o, "handles_bytes"));
    table_put_number(t, tally_metric(o, "nccl_bytes"));
    table_put_number(t, tally_metric(o, "rest_bytes"));
}

static void add_sentences(struct page *p, const struct traits *has) {
    struct text *out = &p->markdown;
    text_add(out, "The largest over the ranks. ");
    if (has->apart) {
        text_add(out, "Planned is what was reserved before the first step. ");
    } else if (has->compared) {
        text_add(out, "Planned and measured agree to the byte. ");
    }
    text_add(out, "The witness is the device's own word (on a CPU the kernel's) for "
                  "the whole process");
    if (has->planned) {
        text_add(out, "; what it sees beyond the plan is what the plan leaves out: the "
                      "data and their tokens, the program itself, its libraries and "
                      "thread stacks, and on a CPU the memory of other ranks that it "
                      "reads");
    }
    text_add(out, ".");
    if (has->owned) {
        text_add(out,
                " On a GPU: the context of CUDA, what streams and library handles "
                "take, NCCL, and the rest, which is code loaded later, graphs and "
                "rounding.");
    }
    if (has->exceeding) {
        text_add(out, " PyTorch's kinds can add up to more than its peak: not all of "
                      "them, gradients above all, need be alive at it.");
    }
    text_add(out, "\n\n");
}

bool memory_add(struct page *p, struct text *err) {
    const struct tallies *o = p->tallies;
    struct table t = {0};
    struct traits has = {0};
    add_columns(&t);
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *item = o->items + i;
        bool known = isfinite(tally_metric(item, "planned_bytes")) ||
                     isfinite(tally_metric(item, "peak_bytes"));
        if (!item->stale && tally_trains(item) && known) {
            add_row(&t, item);
            add_traits(&has, item);
        }
    }
    bool ok = page_add_csv(p, &t, "memory", err);
    if (ok && t.row_count) {
        text_add(&p->markdown, "## Memory by kind\n\n");
        add_sentences(p, &has);
        page_add_table(p, &t, "memory");
    }
    table_finish(&t);
    return ok;
}
