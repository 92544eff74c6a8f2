/* What more ranks would bring, where this folder has all that it takes to tell. */
#include <math.h>
#include <stdint.h>

#include "reports/outlook_markdown.h"
#include "reports/page.h"

bool outlook_page_add(struct page *p, struct text *err) {
    static const int ranks[] = {2, 4, 8};
    const struct outlook_question question = {.ranks = ranks,
            .rank_count = sizeof ranks / sizeof *ranks,
            .links = {.link_bytes_per_s = NAN,
                    .network_bytes_per_s = NAN,
                    .per_node = 8}};
    struct outlook o;
    outlook_init(&o, &p->tallies, 1, &question);
    struct table t = {0};
    outlook_markdown_table(&t, &o, SIZE_MAX);
    bool ok = !o.row_count || page_add_csv(p, &t, "forecast", err);
    if (ok && o.row_count) {
        text_add(&p->markdown,
                "## Forecast\n\n"
                "What a node of up to 8 ranks would do, from the one-rank cells' "
                "phases and the all-reduce curves above. `runner forecast` tells its "
                "model and limits, and takes other ranks, links and nodes. ");
        outlook_markdown_add_errors(&p->markdown, &o);
        page_add_table(p, &t, "forecast");
    }
    table_finish(&t);
    outlook_finish(&o);
    return ok;
}
