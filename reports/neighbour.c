#include "reports/neighbour.h"

#include <stdlib.h>
#include <string.h>

#include "reports/human.h"

/* When and where an attempt ran. */
struct span {
    const char *boot;
    int64_t from, to;
    const struct result_attempt *attempt;
    bool accompanied;
};

struct spans {
    struct span *items; /* by boot and start, owned */
    size_t count;
};

// False where its end is not known: a supervisor that died saw none, and the record has
// the time when that was found out.
static bool make_span(const struct result_attempt *a, struct span *s) {
    const struct record *r = &a->record;
    const char *boot = NULL;
    if (a->recorded && !a->damage) {
        boot = json_string_value(json_object_get(r->provenance, "boot_id"));
    }
    *s = (struct span){boot, r->started_unix_ms, r->ended_unix_ms, a, false};
    return boot && *boot && r->wall_ms > 0;
}

static int by_start(const void *a, const void *b) {
    const struct span *x = a, *y = b;
    int order = strcmp(x->boot, y->boot);
    if (order || x->from != y->from) {
        return order ? order : x->from < y->from ? -1 : 1;
    }
    return (x->attempt > y->attempt) - (x->attempt < y->attempt);
}

// Sorted by start, a span meets some earlier one just where it meets the one of them
// that ends last.
static void find_accompanied(struct spans *s) {
    struct span *longest = s->items;
    for (size_t i = 1; i < s->count; i++) {
        struct span *now = s->items + i;
        bool same_boot = strcmp(longest->boot, now->boot) == 0;
        if (same_boot && now->from < longest->to) {
            now->accompanied = longest->accompanied = true;
        }
        longest = same_boot && longest->to >= now->to ? longest : now;
    }
}

static struct spans spans_of(const struct results *results) {
    struct spans s = {0};
    size_t most = 0;
    for (size_t i = 0; i < results->count; i++) {
        most += results->cells[i].attempt_count;
    }
    s.items = text_allocate_zeroed(most + 1, sizeof *s.items);
    for (size_t i = 0; i < results->count; i++) {
        const struct result_cell *cell = results->cells + i;
        for (size_t k = 0; k < cell->attempt_count; k++) {
            s.count += make_span(cell->attempts + k, s.items + s.count);
        }
    }
    qsort(s.items, s.count, sizeof *s.items, by_start);
    find_accompanied(&s);
    return s;
}

static bool is_accompanied(const struct spans *s, const struct tally *o) {
    for (size_t i = 0; i < o->counted; i++) {
        struct span key;
        if (!make_span(o->attempts[i], &key)) {
            continue;
        }
        const struct span *found =
                bsearch(&key, s->items, s->count, sizeof *s->items, by_start);
        if (found && found->accompanied) {
            return true;
        }
    }
    return false;
}

bool neighbour_add_count(const struct tallies *o, struct text *out) {
    if (!tallies_are_timings(o)) {
        return false;
    }
    struct spans s = spans_of(o->results);
    size_t accompanied = 0, fresh = 0;
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *item = o->items + i;
        if (item->last && !item->stale) {
            fresh++;
            accompanied += is_accompanied(&s, item);
        }
    }
    free(s.items);
    if (accompanied) {
        text_addf(out, "%zu of ", accompanied);
        human_plural(out, fresh, "cell");
        text_add(out, " ran beside others on one machine");
    }
    return accompanied > 0;
}
