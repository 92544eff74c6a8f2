#include "reports/fabric.h"

#include <math.h>
#include <stdlib.h>

#include "matrix/curve.h"
#include "matrix/text.h"

static int by_bytes(const void *a, const void *b) {
    const struct fabric_point *x = a, *y = b;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

bool fabric_curve_read(struct fabric_curve *c, const json_t *allreduce, int ranks) {
    *c = (struct fabric_curve){.ranks = ranks};
    size_t most = json_array_size(allreduce);
    c->points = text_allocate_zeroed(most + 1, sizeof *c->points);
    for (size_t i = 0; i < most; i++) {
        struct curve_row row;
        struct text ignored = {0};
        if (curve_row_from_json(json_array_get(allreduce, i), &row, &ignored)) {
            c->points[c->count++] =
                    (struct fabric_point){(double)row.bytes, row.ms_median};
        }
        text_finish(&ignored);
    }
    if (!c->count || ranks < 2) {
        fabric_curve_finish(c);
        return false;
    }
    qsort(c->points, c->count, sizeof *c->points, by_bytes);
    return true;
}

void fabric_curve_finish(struct fabric_curve *c) {
    free(c->points);
    *c = (struct fabric_curve){0};
}

double fabric_curve_ms(const struct fabric_curve *c, double bytes) {
    const struct fabric_point *first = c->points, *last = first + c->count - 1;
    if (bytes <= first->bytes) {
        return first->ms;
    }
    if (bytes >= last->bytes) {
        return last->ms * bytes / last->bytes;
    }
    const struct fabric_point *p = first;
    while (p[1].bytes < bytes) {
        p++;
    }
    double share = log(bytes / p->bytes) / log(p[1].bytes / p->bytes);
    return p->ms * pow(p[1].ms / p->ms, share);
}

int fabric_nodes(const struct fabric *f, int ranks) {
    return (ranks + f->per_node - 1) / f->per_node;
}

static double hop_ms(const struct fabric *f) {
    return f->curve ? f->curve->points->ms / (2.0 * (f->curve->ranks - 1)) : f->hop_ms;
}

double fabric_hops_ms(
        const struct fabric *f, enum fabric_algorithm algorithm, int ranks) {
    int nodes = fabric_nodes(f, ranks);
    if (algorithm == FABRIC_TREE) {
        int most = ranks < f->per_node ? ranks : f->per_node;
        return 2 * ((most - 1) * hop_ms(f) +
                           ceil(log2(nodes)) * (nodes > 1 ? f->network_hop_ms : 0));
    }
    return 2 * ((ranks - nodes) * hop_ms(f) +
                       (nodes > 1 ? (nodes - 1) * f->network_hop_ms : 0));
}

/* What the bytes take beyond the hops. */
static double bytes_ms(const struct fabric *f, int ranks, double bytes) {
    double moved = 2.0 * (ranks - 1) / ranks * bytes;
    double ms;
    if (f->curve) {
        const struct fabric_curve *c = f->curve;
        double steps = (ranks - 1.0) / (c->ranks - 1.0);
        double like = fabric_curve_ms(c, bytes * c->ranks / ranks);
        // A noisy curve may dip below its first point.
        ms = steps * fmax(0, like - c->points->ms);
    } else {
        ms = 1e3 * moved / f->link_bytes_per_s;
    }
    if (fabric_nodes(f, ranks) > 1) {
        double network = 1e3 * moved / f->network_bytes_per_s;
        return isnan(network) ? NAN : fmax(ms, network);
    }
    return ms;
}

double fabric_all_reduce_ms(const struct fabric *f, enum fabric_algorithm algorithm,
        int ranks, double bytes) {
    if (ranks < 2) {
        return 0;
    }
    return fabric_hops_ms(f, algorithm, ranks) + bytes_ms(f, ranks, bytes);
}
