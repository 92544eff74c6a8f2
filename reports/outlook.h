/*
 * An outlook: for the training cells of results folders, what they would do on more
 * ranks, and where that was measured how far off the forecast is.
 */
#ifndef REPORTS_OUTLOOK_H
#define REPORTS_OUTLOOK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "matrix/text.h"
#include "reports/fabric.h"
#include "reports/forecast.h"
#include "reports/tally.h"

/* What is asked, and what no record tells. */
struct outlook_question {
    const int *ranks; /* ascending, 2 or more each */
    size_t rank_count;
    struct fabric links; /* without a curve; `link_bytes_per_s` known: none is used */
    bool selected_only;  /* leave out cells that are not `selected` */
};

/* A measured curve, and whose it is. */
struct outlook_curve {
    const struct tally *tally;
    struct fabric_curve curve; /* owned */
    bool beside; /* with NCCL held to what a wrapper leaves it beside computation */
};

/* A cell that forecasts start from: on one rank, or else what there is. */
struct outlook_base {
    const struct tally *tally;
    struct forecast_cell cell;
    double slowdown; /* of backward beside reductions */
    size_t fitted;   /* measured rows that it was fitted to; 0: none could tell */
    double gather_slowdown, undivided; /* of `sharded`, as in a forecast_setting */
    size_t fitted_sharded;             /* measured rows that the two were fitted to */
};

struct outlook_row {
    size_t base;                        /* index */
    const struct tally *measured;       /* NULL: nobody has tried */
    const struct outlook_curve *curve;  /* NULL: the question's links */
    const struct outlook_curve *beside; /* of reductions beside backward; NULL: as
                                           `curve` */
    struct forecast_wrapper wrapper;
    double bucket_mb; /* NAN where the wrapper has no buckets */
    int ranks, nodes;
    struct forecast_step ring, tree;
    double tokens_per_s; /* by the ring */
    double error_pct;    /* of the ring's step against the measured one; NAN where
                            there is none, or its ranks shared cores */
};

struct outlook {
    struct outlook_question question;
    struct outlook_curve *curves; /* all owned */
    size_t curve_count;
    size_t stale_curves; /* left out: of another build or machine */
    struct outlook_base *bases;
    size_t base_count;
    struct outlook_row *rows; /* base by base, wrapper by wrapper, ranks ascending */
    size_t row_count;
    struct text skipped; /* cells that ran and cannot be forecast: "id: why", a line
                            each */
};

/*
 * Look at all cells of `all`, which must outlive `o`, as `question.ranks` must. Curves
 * are taken from wherever they lie. Without anything to tell `o` has no rows, and
 * `skipped` may say why.
 */
void outlook_init(struct outlook *o, const struct tallies *const *all, size_t count,
        const struct outlook_question *question);
void outlook_finish(struct outlook *o);

/* What was measured of a row as the forecast counts it: over so many times what the
 * base does, on whichever GPUs. NAN where nothing was, or the base has several ranks.
 */
double outlook_measured_efficiency(
        const struct outlook *o, const struct outlook_row *r);

/* The errors of the measured rows: their number, median and largest magnitude. */
struct stats outlook_errors(const struct outlook *o);

#endif
