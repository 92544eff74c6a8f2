#include "runner/forecast.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/results.h"
#include "reports/human.h"
#include "reports/outlook_json.h"
#include "reports/outlook_markdown.h"
#include "runner/folder.h"

#define RANKS_MOST 1048576
#define NUMBER_LEAST 0.001 /* GB/s or µs; beyond these no link is */
#define NUMBER_MOST 100000.0
#define NODES_USUAL 8 /* where --network is given and --nodes is not */

/* The matrix folders that were named, read. */
struct reading {
    struct results *results;
    struct tallies *tallies;
    const struct tallies **all;
    size_t count;
    struct cells cells; /* of all of them, for the selection; `items` owned */
};

static bool read_folder(struct reading *r, const char *path, struct text *err) {
    r->results = text_reallocate(r->results, (r->count + 1) * sizeof *r->results);
    if (!results_read(path, r->results + r->count, err)) {
        return false;
    }
    r->count++;
    return true;
}

/* `path` is a matrix's own folder, or holds some. */
static bool read_folders(struct reading *r, const char *path, struct text *err) {
    if (results_are_in(path)) {
        return read_folder(r, path, err);
    }
    char **names = folder_names(path, "");
    struct text below = {0};
    bool ok = true;
    size_t before = r->count;
    for (char **n = names; ok && *n; n++) {
        text_clear(&below);
        text_addf(&below, "%s/%s", path, *n);
        ok = !results_are_in(text_get(&below)) || read_folder(r, text_get(&below), err);
    }
    folder_free_names(names);
    text_finish(&below);
    return ok &&
           (r->count > before || text_fail(err, "there are no results in '%s'", path));
}

/* Mark what the selection leaves, over all folders at once. */
static bool select_cells(
        struct reading *r, const struct selection *s, struct text *err) {
    struct cells *all = &r->cells;
    for (size_t i = 0; i < r->count; i++) {
        const struct cells *own = &r->results[i].plan.cells;
        all->items = text_reallocate(
                all->items, (all->count + own->count + 1) * sizeof *all->items);
        for (size_t k = 0; k < own->count; k++) {
            all->items[all->count] = own->items[k];
            all->items[all->count++].selected = !own->items[k].excluded;
        }
    }
    if (!cells_select(all, s, err)) {
        return false;
    }
    for (size_t i = 0, at = 0; i < r->count; i++) {
        struct cells *own = &r->results[i].plan.cells;
        for (size_t k = 0; k < own->count; k++) {
            own->items[k].selected = all->items[at++].selected;
        }
    }
    return true;
}

static bool read_all(struct reading *r, const struct options *o, struct text *err) {
    bool ok = o->files.count > 0 || read_folders(r, o->out, err);
    for (int i = 0; ok && i < o->files.count; i++) {
        ok = read_folders(r, o->files.items[i], err);
    }
    const struct selection s = options_selection(o);
    if (!ok || !select_cells(r, &s, err)) {
        return false;
    }
    // Only now: tallies point into results, which no longer move.
    r->tallies = text_allocate_zeroed(r->count, sizeof *r->tallies);
    r->all = text_allocate_zeroed(r->count, sizeof *r->all);
    for (size_t i = 0; i < r->count; i++) {
        tallies_init(r->tallies + i, r->results + i);
        r->all[i] = r->tallies + i;
    }
    return true;
}

static void finish_all(struct reading *r) {
    for (size_t i = 0; i < r->count; i++) {
        if (r->tallies) {
            tallies_finish(r->tallies + i);
        }
        results_finish(r->results + i);
    }
    free(r->results);
    free(r->tallies);
    free(r->all);
    free(r->cells.items);
    r->cells.items = NULL;
    cells_finish(&r->cells);
}

/* -- the question --------------------------------------------------------------------
 */

/* A number that may be one of a link, `fallback` where the option was not given. */
static bool to_number(const char *option, const char *word, double fallback,
        double *out, struct text *err) {
    *out = fallback;
    if (!word) {
        return true;
    }
    char *end;
    errno = 0;
    *out = strtod(word, &end);
    bool number = end != word && !*end && !errno;
    return (number && *out >= NUMBER_LEAST && *out <= NUMBER_MOST) ||
           text_fail(err, "%s: found '%s', expected a number from %g to %.0f", option,
                   word, NUMBER_LEAST, NUMBER_MOST);
}

static int by_size(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

static bool parse_ranks(
        const struct words *words, int **ranks, size_t *count, struct text *err) {
    *ranks = text_allocate_zeroed((size_t)words->count + 1, sizeof **ranks);
    for (int i = 0; i < words->count; i++) {
        char *end;
        errno = 0;
        long n = strtol(words->items[i], &end, 10);
        if (end == words->items[i] || *end || errno || n < 2 || n > RANKS_MOST) {
            return text_fail(err,
                    "--ranks: found '%s', expected a whole number from 2 to %d",
                    words->items[i], RANKS_MOST);
        }
        (*ranks)[(*count)++] = (int)n;
    }
    qsort(*ranks, *count, sizeof **ranks, by_size);
    return true;
}

/* Doublings up to all ranks of all nodes, where --ranks names none. */
static void usual_ranks(int most, int **ranks, size_t *count) {
    for (int n = 2; n <= most && n <= RANKS_MOST; n *= 2) {
        *ranks = text_reallocate(*ranks, (*count + 1) * sizeof **ranks);
        (*ranks)[(*count)++] = n;
    }
}

static bool check_ranks(
        const struct outlook_question *q, const struct options *o, struct text *err) {
    int most = q->ranks[q->rank_count - 1];
    int nodes = fabric_nodes(&q->links, most);
    if (o->nodes && nodes > o->nodes) {
        return text_fail(err,
                "--ranks: %d ranks need %d nodes of %d; give --nodes or --per-node",
                most, nodes, q->links.per_node);
    }
    if (nodes > 1 && isnan(q->links.network_bytes_per_s)) {
        return text_fail(err,
                "%d ranks need %d nodes of %d; say with --network GB/s how fast they "
                "are joined",
                most, nodes, q->links.per_node);
    }
    return true;
}

/* `ranks` is the caller's to free, also on failure. */
static bool ask(struct outlook_question *q, int **ranks, const struct options *o,
        struct text *err) {
    double link, network, latency_us, network_latency_us;
    if (!to_number("--link", o->link, NAN, &link, err) ||
            !to_number("--network", o->network, NAN, &network, err) ||
            !to_number("--latency", o->latency, 5, &latency_us, err) ||
            !to_number("--network-latency", o->network_latency, 10, &network_latency_us,
                    err) ||
            !parse_ranks(&o->ranks, ranks, &q->rank_count, err)) {
        return false;
    }
    if (o->latency && !o->link) {
        return text_fail(err, "--latency goes with --link; a curve has its own");
    }
    if (o->network_latency && !o->network) {
        return text_fail(err, "--network-latency goes with --network");
    }
    q->links = (struct fabric){.link_bytes_per_s = 1e9 * link,
            .hop_ms = latency_us / 1e3,
            .network_bytes_per_s = 1e9 * network,
            .network_hop_ms = network_latency_us / 1e3,
            .per_node = o->per_node ? o->per_node : 8};
    q->selected_only = true;
    if (!q->rank_count) {
        int nodes = o->nodes ? o->nodes : o->network ? NODES_USUAL : 1;
        int64_t most = (int64_t)nodes * q->links.per_node;
        usual_ranks(most < RANKS_MOST ? (int)most : RANKS_MOST, ranks, &q->rank_count);
    }
    q->ranks = *ranks;
    if (!q->rank_count) {
        return text_fail(err, "one node of one rank leaves nothing to forecast; give "
                              "--ranks, --nodes or --per-node");
    }
    return check_ranks(q, o, err);
}

/* -- the answer ----------------------------------------------------------------------
 */

static bool explain(const struct outlook *l, struct text *err) {
    if (!l->skipped.size) {
        return text_fail(err, "no selected cell trained on one rank and ended ok, so "
                              "there is nothing to forecast from");
    }
    const char *reasons = text_get(&l->skipped);
    int first = (int)strcspn(reasons, "\n");
    bool curve = !l->curve_count && !(l->question.links.link_bytes_per_s > 0);
    if (curve && l->stale_curves) {
        return text_fail(err, "the all-reduce curves here are stale, of another build "
                              "or machine; run matrix/allreduce.yaml again, or give "
                              "--link GB/s");
    }
    if (curve) {
        return text_fail(err, "there is no all-reduce curve in these results; run "
                              "matrix/allreduce.yaml, or give --link GB/s");
    }
    return text_fail(err, "nothing can be forecast: %.*s", first, reasons);
}

static bool print(
        const struct options *o, const struct outlook *l, FILE *out, struct text *err) {
    bool ok;
    if (o->json) {
        json_t *root = outlook_json(l);
        ok = root && json_dumpf(root, out, JSON_INDENT(1)) == 0 &&
             fputc('\n', out) != EOF;
        json_decref(root);
    } else {
        struct text page = {0};
        outlook_markdown_add(&page, l);
        ok = fwrite(text_get(&page), 1, page.size, out) == page.size;
        text_finish(&page);
    }
    return ok || text_fail(err, "cannot print the forecast: %s", strerror(errno));
}

int forecast_command(const struct options *o, FILE *out, FILE *talk, struct text *err) {
    struct reading r = {0};
    struct outlook_question q = {0};
    struct outlook l = {0};
    int *ranks = NULL;
    bool ok = ask(&q, &ranks, o, err) && read_all(&r, o, err);
    if (ok) {
        outlook_init(&l, r.all, r.count, &q);
        ok = l.row_count ? print(o, &l, out, err) : explain(&l, err);
    }
    if (ok) {
        struct text said = {0};
        human_plural(&said, l.row_count, "row");
        text_add(&said, " from ");
        human_plural(&said, l.base_count, "cell");
        fflush(out); // both may go to one file: the page comes first
        fprintf(talk, "forecast: %s\n", text_get(&said));
        text_finish(&said);
    }
    outlook_finish(&l);
    finish_all(&r);
    free(ranks);
    return ok ? 0 : 2;
}
