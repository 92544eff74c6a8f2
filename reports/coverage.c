#include "reports/coverage.h"

#include <stdlib.h>

#include "reports/markdown.h"
#include "reports/names.h"

#define NAMES_MOST 12 /* names in one enumeration */

// Techniques of which there are stale results only, and the cells that have them.
struct unranked {
    const struct tallies *tallies;
    bool *told; /* cells that a name stands for */
    struct names names;
};

static bool shares(const struct tally *a, const struct tally *b, enum param axis) {
    return context_compare_value(&a->cell->params, &b->cell->params, axis) == 0;
}

static bool is_ranked(
        const struct tallies *o, const struct tally *value, enum param axis) {
    for (size_t i = 0; i < o->count; i++) {
        if (tally_counts(o->items + i) && shares(o->items + i, value, axis)) {
            return true;
        }
    }
    return false;
}

// "`engine=native`"; all cells that have it are told of by that.
static void tell_value(struct unranked *u, const struct tally *value, enum param axis) {
    struct context only = {0};
    struct text name = {0};
    only.has[axis] = true;
    context_show(&value->cell->params, &only, &name);
    if (names_next(&u->names)) {
        markdown_add_code(u->names.out, text_get(&name));
    }
    text_finish(&name);
    for (size_t i = 0; i < u->tallies->count; i++) {
        u->told[i] |= shares(u->tallies->items + i, value, axis);
    }
}

// How many such techniques there are; their names go to `out`.
static size_t find_unranked(const struct tallies *o, struct text *out) {
    struct unranked u = {.tallies = o,
            .told = text_allocate_zeroed(o->count, sizeof *u.told),
            .names = {.out = out, .most = NAMES_MOST}};
    for (int axis = 0; axis < PARAM_COUNT; axis++) {
        if (!o->varies.has[axis] || !context_is_technique((enum param)axis)) {
            continue;
        }
        for (size_t i = 0; i < o->count; i++) {
            const struct tally *t = o->items + i;
            if (t->stale && !u.told[i] && !is_ranked(o, t, (enum param)axis)) {
                tell_value(&u, t, (enum param)axis);
            }
        }
    }
    names_finish(&u.names);
    free(u.told);
    return u.names.count;
}

// Unsaid, a technique that the answer knows nothing of would pass for beaten.
static void add_unranked(struct page *p) {
    struct text names = {0};
    if (find_unranked(p->tallies, &names)) {
        text_addf(&p->markdown,
                " Not ranked at all, for want of a fresh result that is ok: %s.",
                text_get(&names));
    }
    text_finish(&names);
}

static void add_counts(struct page *p) {
    const struct tallies *o = p->tallies;
    size_t by_status[STATUS_COUNT] = {0};
    size_t stale = 0;
    for (size_t i = 0; i < o->count; i++) {
        by_status[o->items[i].status]++;
        stale += o->items[i].stale != NULL;
    }
    human_plural(&p->markdown, o->count, "cell");
    const char *gap = ": ";
    for (int s = 0; s < STATUS_COUNT; s++) {
        if (by_status[s]) {
            text_add(&p->markdown, gap);
            human_number(&p->markdown, HUMAN_COUNT, (double)by_status[s]);
            text_add(&p->markdown, " ");
            markdown_add_text(&p->markdown, status_name((enum status)s));
            gap = ", ";
        }
    }
    if (stale) {
        text_addf(&p->markdown, "; %zu of the results %s stale and left out below",
                stale, stale == 1 ? "is" : "are");
    }
    text_add(&p->markdown, ".");
    add_unranked(p);
    size_t open = by_status[STATUS_NOT_RUN] + by_status[STATUS_INTERRUPTED] +
                  by_status[STATUS_LOST] + by_status[STATUS_PREEMPTED];
    if (open && by_status[STATUS_OK]) {
        text_add(&p->markdown, " The answer is of what ran so far.");
    }
    text_add(&p->markdown, "\n\n");
}

// What came of the cells whose status the matrix states.
struct stated {
    size_t tried;
    size_t exact;     /* of them, those that ended in it */
    size_t elsewhere; /* unsupported here, which passes */
    size_t missed;    /* all others */
    size_t left;      /* not run */
};

// The names of those that missed go to `misses`.
static struct stated hold_against_stated(const struct tallies *o, struct text *misses) {
    struct stated s = {0};
    struct names names = {.out = misses, .most = NAMES_MOST};
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *t = o->items + i;
        if (t->cell->expect < 0 || t->cell->excluded) {
            continue;
        }
        if (t->status == STATUS_NOT_RUN) {
            s.left++;
            continue;
        }
        s.tried++;
        if ((int)t->status == t->cell->expect) {
            s.exact++;
        } else if (tally_met_expectation(t)) {
            s.elsewhere++;
        } else if (names_next(&names)) {
            markdown_add_code(misses, t->cell->id);
            text_addf(misses, " (%s)", status_name(t->status));
        }
    }
    names_finish(&names);
    s.missed = names.count;
    return s;
}

static void add_tried(struct text *out, const struct stated *s, const char *misses) {
    text_addf(out, "%zu of ", s->exact);
    human_plural(out, s->tried, s->left ? "tried cell" : "cell");
    text_add(out, " with a stated status ended in exactly that");
    if (s->elsewhere) {
        text_addf(out, ", %zu %s unsupported on this machine", s->elsewhere,
                s->elsewhere == 1 ? "is" : "are");
    }
    if (s->missed) {
        text_addf(out, ", **%zu did not**: %s", s->missed, misses);
    }
    text_add(out, ".");
}

// A matrix that states what should happen is answered by whether it did. What was not
// run missed nothing and is told apart.
static void add_expectations(struct page *p) {
    struct text *out = &p->markdown;
    struct text misses = {0};
    struct stated s = hold_against_stated(p->tallies, &misses);
    const char *were = s.left == 1 ? "was" : "were";
    if (s.tried) {
        add_tried(out, &s, text_get(&misses));
    }
    if (s.tried && s.left) {
        text_addf(out, " %zu more %s not run.", s.left, were);
    } else if (s.left) {
        human_plural(out, s.left, "cell");
        text_addf(out, " with a stated status %s not run.", were);
    }
    text_add(out, s.tried || s.left ? "\n\n" : "");
    text_finish(&misses);
}

void coverage_add(struct page *p) {
    add_counts(p);
    add_expectations(p);
}
