/* The setting: what ran where and when, on which data, with which model. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/metric.h"
#include "reports/fresh.h"
#include "reports/markdown.h"
#include "reports/neighbour.h"
#include "reports/page.h"

// Lines already said, so that a thousand cells of one machine take one line.
struct said {
    char **lines;
    size_t *cells;
    size_t count;
};

static void say(struct said *s, const char *line) {
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->lines[i], line) == 0) {
            s->cells[i]++;
            return;
        }
    }
    s->lines = text_reallocate(s->lines, (s->count + 1) * sizeof *s->lines);
    s->cells = text_reallocate(s->cells, (s->count + 1) * sizeof *s->cells);
    s->cells[s->count] = 1;
    s->lines[s->count++] = text_copy(line);
}

static void print_said(struct page *p, struct said *s, const char *what) {
    const size_t most = 12;
    for (size_t i = 0; i < s->count && i < most; i++) {
        text_addf(&p->markdown, "- **%s**: %s", what, s->lines[i]);
        if (s->count > 1) {
            text_add(&p->markdown, " (");
            human_plural(&p->markdown, s->cells[i], "cell");
            text_add(&p->markdown, ")");
        }
        text_add(&p->markdown, "\n");
    }
    if (s->count > most) {
        text_addf(&p->markdown, "- **%s**: … and %zu more, in the CSV\n", what,
                s->count - most);
    }
    for (size_t i = 0; i < s->count; i++) {
        free(s->lines[i]);
    }
    free(s->lines);
    free(s->cells);
}

// Append `field` after `before`, escaped; nothing where it is unknown.
static void add_fact(struct text *out, const struct record *r, const char *before,
        const char *field, const char *after) {
    struct text value = {0};
    fresh_provenance(r, field, &value);
    if (value.size) {
        text_add(out, before);
        markdown_add_text(out, text_get(&value));
        text_add(out, after);
    }
    text_finish(&value);
}

static void describe_machine(const struct record *r, struct text *out) {
    add_fact(out, r, "", "host", "");
    add_fact(out, r, ": ", "cpu", "");
    human_phrase(out, ", ", HUMAN_COUNT, fresh_provenance_number(r, "cores"), " cores");
    human_phrase(out, ", ", HUMAN_BYTES, fresh_provenance_number(r, "memory_bytes"),
            " memory");
    add_fact(out, r, ", GPUs ", "gpus", "");
    add_fact(out, r, ", ", "kernel", "");
}

static void describe_worker(const struct record *r, struct text *out) {
    struct text build = {0};
    fresh_provenance(r, "worker_build", &build);
    if (build.size) {
        text_add(out, "build ");
        markdown_add_code(out, text_get(&build));
        add_fact(out, r, " on ", "device", "");
    }
    text_finish(&build);
}

static void describe_data(const struct record *r, struct text *out) {
    struct text digest = {0};
    fresh_provenance(r, "data_digest", &digest);
    struct text name = {0};
    fresh_provenance(r, "data", &name);
    if (!name.size) {
        params_show(&r->params, PARAM_DATA, &name);
    }
    if (digest.size) {
        markdown_add_code(out, text_get(&name));
        human_phrase(out, ", ", HUMAN_COUNT, fresh_provenance_number(r, "data_bytes"),
                " bytes");
        struct text tokenizer = {0};
        fresh_provenance(r, "tokenizer", &tokenizer);
        if (!tokenizer.size) {
            params_show(&r->params, PARAM_TOKENIZER, &tokenizer);
        }
        text_add(out, ", tokenizer ");
        markdown_add_code(out, text_get(&tokenizer));
        text_finish(&tokenizer);
        human_phrase(out, " (vocabulary ", HUMAN_COUNT,
                fresh_provenance_number(r, "vocab"), ")");
        human_phrase(out, ", tokens: ", HUMAN_COUNT,
                fresh_provenance_number(r, "train_tokens"), " training");
        human_phrase(out, ", ", HUMAN_COUNT, fresh_provenance_number(r, "val_tokens"),
                " validation");
        human_phrase(out, ", ", HUMAN_COUNT, fresh_provenance_number(r, "test_tokens"),
                " test");
        text_add(out, ", SHA-256 ");
        markdown_add_code(out, text_get(&digest));
    }
    text_finish(&digest);
    text_finish(&name);
}

static void describe_model(const struct tally *o, struct text *out) {
    const struct params *p = &o->cell->params;
    double count = tally_metric(o, "params");
    if (!isfinite(count)) {
        return;
    }
    text_addf(out, "%s, ", params_choice(p, PARAM_ARCH));
    human_number(out, HUMAN_COUNT, count);
    text_add(out, " parameters: ");
    human_plural(out, (size_t)params_integer(p, PARAM_LAYERS), "layer");
    text_addf(out, ", d_model %lld, ", (long long)params_integer(p, PARAM_D_MODEL));
    human_plural(out, (size_t)params_integer(p, PARAM_HEADS), "head");
    if (params_kv_heads(p) != params_integer(p, PARAM_HEADS)) {
        text_addf(out, " (%lld for keys and values)", (long long)params_kv_heads(p));
    }
    text_addf(out, ", d_ff %lld", (long long)params_d_ff(p));
}

// Stars, pipes and the like were escaped where the values came in.
static void list_by(struct page *p, const char *what,
        void (*describe)(const struct record *r, struct text *out)) {
    struct said said = {0};
    struct text line = {0};
    for (size_t i = 0; i < p->tallies->count; i++) {
        const struct tally *o = p->tallies->items + i;
        if (o->last && !o->stale) {
            text_clear(&line);
            describe(&o->last->record, &line);
            if (line.size) {
                say(&said, text_get(&line));
            }
        }
    }
    print_said(p, &said, what);
    text_finish(&line);
}

static void list_models(struct page *p) {
    struct said said = {0};
    struct text line = {0};
    for (size_t i = 0; i < p->tallies->count; i++) {
        if (tally_counts(p->tallies->items + i)) {
            text_clear(&line);
            describe_model(p->tallies->items + i, &line);
            if (line.size) {
                say(&said, text_get(&line));
            }
        }
    }
    print_said(p, &said, "Model");
    text_finish(&line);
}

static void add_dates(struct page *p) {
    int64_t first = 0;
    int64_t last = 0;
    int64_t busy_ms = 0;
    for (size_t i = 0; i < p->tallies->count; i++) {
        const struct tally *o = p->tallies->items + i;
        if (!o->last || o->stale) {
            continue;
        }
        const struct record *r = &o->last->record;
        first = !first || r->started_unix_ms < first ? r->started_unix_ms : first;
        last = r->ended_unix_ms > last ? r->ended_unix_ms : last;
        busy_ms += r->wall_ms > 0 ? r->wall_ms : 0;
    }
    if (!first) {
        return;
    }
    text_add(&p->markdown, "- **When**: ");
    human_time(&p->markdown, first);
    text_add(&p->markdown, " to ");
    human_time(&p->markdown, last);
    text_add(&p->markdown, "; the cells took ");
    human_number(&p->markdown, HUMAN_SECONDS, (double)busy_ms / 1000);
    text_add(&p->markdown, " in all");
    struct text neighbours = {0};
    if (neighbour_add_count(p->tallies, &neighbours)) {
        text_addf(&p->markdown, ". %s, so their timings may be disturbed",
                text_get(&neighbours));
    }
    text_add(&p->markdown, "\n");
    text_finish(&neighbours);
}

bool setting_add(struct page *p, struct text *err) {
    (void)err;
    bool any = false;
    for (size_t i = 0; i < p->tallies->count && !any; i++) {
        any = p->tallies->items[i].last && !p->tallies->items[i].stale;
    }
    if (!any) {
        return true;
    }
    text_add(&p->markdown, "## What ran where\n\n");
    list_by(p, "Machine", describe_machine);
    list_by(p, "Worker", describe_worker);
    add_dates(p);
    list_by(p, "Data", describe_data);
    list_models(p);
    text_add(&p->markdown, "\n");
    return true;
}
