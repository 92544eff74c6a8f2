/* The largest batches that train: how `batch: max` was found, probe by probe. */
#include <math.h>
#include <string.h>

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

/* Whether the batch that was found is one that a probe has trained with. */
static bool was_proven(json_t *search) {
    json_int_t batch = json_integer_value(json_object_get(search, "batch"));
    size_t i;
    json_t *probe;
    json_array_foreach(json_object_get(search, "probes"), i, probe) {
        const char *status = json_string_value(json_object_get(probe, "status"));
        if (json_integer_value(json_object_get(probe, "batch")) == batch) {
            return status && (!strcmp(status, "ok") || !strcmp(status, "invalid"));
        }
    }
    return false;
}

static void add_row(struct table *t, const struct tally *o, json_t *search) {
    struct text probes = {0};
    json_t *list = json_object_get(search, "probes");
    show_probes(list, &probes);
    table_row(t);
    table_put_text(t, o->cell->id);
    table_put_text(t, o->cell->hash);
    table_put_number(t, was_proven(search)
                                ? json_number_value(json_object_get(search, "batch"))
                                : NAN);
    table_put_number(t, (double)json_array_size(list));
    table_put_number(t, json_number_value(json_object_get(search, "seconds")));
    table_put_text(t, text_get(&probes));
    text_finish(&probes);
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
                "of time: known to within 1, from 100 on to within 2 %. Probes are in "
                "no other number here.\n\n");
        page_add_table(p, &t, "largest_batch");
    }
    table_finish(&t);
    return ok;
}
