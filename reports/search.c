/* The largest batches that train: how `batch: max` was found, probe by probe. */
#include <string.h>

#include "matrix/found.h"
#include "reports/fresh.h"
#include "reports/page.h"

static json_t *search_of(const struct tally *o) {
    return o->last ? json_object_get(o->last->record.provenance, "batch_search") : NULL;
}

/* "84 ok, 86 oom_device (predicted), …" in the order they were made. */
static void show_probes(json_t *probes, struct text *out) {
    size_t i;
    json_t *probe;
    json_array_foreach(probes, i, probe) {
        const char *status = json_string_value(json_object_get(probe, "status"));
        bool predicted = json_is_true(json_object_get(probe, "predicted"));
        text_addf(out, "%s%lld %s%s", i ? ", " : "",
                (long long)json_integer_value(json_object_get(probe, "batch")),
                status ? status : "", predicted ? " (predicted)" : "");
    }
}

/* Whether both were made by the same build on the same data and machine. */
static bool are_alike(const struct record *a, const struct record *b) {
    struct text x = {0}, y = {0};
    fresh_signature(a, &x);
    fresh_signature(b, &y);
    bool alike = strcmp(text_get(&x), text_get(&y)) == 0;
    text_finish(&x);
    text_finish(&y);
    return alike;
}

/*
 * "132 oom_host, 124 ok": with which batches the cell's attempts were made, and how
 * they ended; a batch that no probe trained with was not found but shows what ails the
 * cell.
 */
static void show_attempts(const struct tally *o, struct text *out) {
    for (size_t i = 0; i < o->result->attempt_count; i++) {
        const struct record *r = &o->result->attempts[i].record;
        struct found found;
        if (found_read(r, &found) && found.probed && are_alike(r, &o->last->record)) {
            text_addf(out, "%s%lld %s", out->size ? ", " : "", (long long)found.batch,
                    status_name(r->status));
        }
    }
}

static void add_row(struct table *t, const struct tally *o, json_t *search) {
    struct text probes = {0}, attempts = {0};
    json_t *list = json_object_get(search, "probes");
    show_probes(list, &probes);
    show_attempts(o, &attempts);
    table_row(t);
    table_put_text(t, o->cell->id);
    table_put_text(t, o->cell->hash);
    table_put_number(t, tally_found_batch(o));
    table_put_number(t, (double)json_array_size(list));
    table_put_number(t, json_number_value(json_object_get(search, "seconds")));
    table_put_text(t, text_get(&probes));
    table_put_text(t, text_get(&attempts));
    text_finish(&probes);
    text_finish(&attempts);
}

bool search_add(struct page *p, struct text *err) {
    struct table t = {0};
    table_add_code(&t, "cell", "cell");
    table_add_text(&t, "hash", "hash");
    table_show_last(&t, TABLE_CSV_ONLY);
    table_add_number(&t, "batch", "largest batch", HUMAN_COUNT);
    table_add_number(&t, "probes", "probes", HUMAN_COUNT);
    table_add_number(&t, "search_s", "search", HUMAN_SECONDS);
    table_add_text(&t, "tried", "tried");
    table_add_text(&t, "attempts", "attempts with what was found");
    for (size_t i = 0; i < p->tallies->count; i++) {
        const struct tally *o = p->tallies->items + i;
        json_t *search = search_of(o);
        if (search) {
            add_row(&t, o, search);
        }
    }
    if (!t.row_count) {
        table_finish(&t);
        return true;
    }
    bool ok = page_add_csv(p, &t, "largest_batch", err);
    if (ok) {
        text_add(&p->markdown,
                "## The largest batches that train\n\n"
                "Cells of `batch: max` were run with the largest batch whose probe, "
                "a few steps in processes of its own, neither ran out of memory nor "
                "of time: by the probes known to within 1, from 100 on to within "
                "2 %. It is listed where the attempt itself trained with it. Memory is "
                "not always the same twice: where the attempt ran out of it, the next "
                "one, of at most three, stays below that batch by 1/16, then 1/8, then "
                "1/4, so that a larger one than is listed may train. Probes are in no "
                "other number here.\n\n");
        page_add_table(p, &t, "largest_batch");
    }
    table_finish(&t);
    return ok;
}
