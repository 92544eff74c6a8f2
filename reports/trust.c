/* How far timings can be trusted: what disturbed them, and how much they vary. */
#include <stdlib.h>

#include "reports/neighbour.h"
#include "reports/page.h"

#define NOISY 0.25 /* step_noise beyond which small differences say nothing */

static bool add_neighbours(struct page *p) {
    struct text count = {0};
    bool had = neighbour_add_count(p->tallies, &count);
    if (had) {
        text_addf(&p->markdown,
                "**The timings may be disturbed**: %s. One at a time, run again with "
                "`--fresh`, they tell more.\n\n",
                text_get(&count));
    }
    text_finish(&count);
    return had;
}

// True, and said, where timings were too noisy to tell much, rather than let readers
// find out. `disturbed`: why is known.
static bool add_noise(struct page *p, bool disturbed) {
    const struct tallies *o = p->tallies;
    double *noise = text_allocate(o->count * sizeof *noise);
    size_t count = 0;
    for (size_t i = 0; i < o->count; i++) {
        if (tally_counts(o->items + i) && o->items[i].ok_count < 2) {
            noise[count++] = tally_metric(o->items + i, "step_noise");
        }
    }
    struct stats s = stats_of(noise, count);
    if (s.median > NOISY) {
        text_add(&p->markdown, "**The timings are noisy**: in half of the cells the "
                               "steps spread over more than ");
        human_number(&p->markdown, HUMAN_PERCENT, 100 * s.median);
        text_addf(&p->markdown,
                " of their median. %s`--repeats 3` on a quiet %s tells more.\n\n",
                disturbed ? "" : "Was the machine busy with something else? ",
                disturbed ? "machine" : "one");
    }
    free(noise);
    return s.median > NOISY;
}

bool trust_add(struct page *p) {
    bool disturbed = add_neighbours(p);
    return add_noise(p, disturbed);
}
