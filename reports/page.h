/*
 * The page being written: sections append Markdown to it and put their tables beside it
 * as CSV. Sections are functions of one file each, called in order by report_write();
 * they stop at the first file that cannot be written.
 */
#ifndef REPORTS_PAGE_H
#define REPORTS_PAGE_H

#include <stdbool.h>

#include "matrix/text.h"
#include "reports/candidate.h"
#include "reports/table.h"
#include "reports/tally.h"

#define PAGE_ROWS 60 /* rows of one table that a page shows; CSV has them all */

struct page {
    const char *folder; /* results/<matrix>; not owned */
    const char *matrix;
    const struct tallies *tallies;
    const struct candidates *candidates;
    struct text markdown; /* owned; text_finish() it */
    struct text written;  /* names of the files so far, one a line; likewise */
};

/* "<matrix>_<name>" below the folder's name, for sentences and links. */
void page_file_name(const struct page *p, const char *name, struct text *out);

/* Write `<matrix>_<name>` whole, at once. */
bool page_write(
        struct page *p, const char *name, const struct text *bytes, struct text *err);

/* Write the table as `<matrix>_<name>.csv` and say in the page where it is. */
bool page_add_csv(
        struct page *p, const struct table *t, const char *name, struct text *err);

/* Append the table to the page; `name` as above. */
void page_add_table(struct page *p, const struct table *t, const char *name);

/* The sections, in the order of the page; each lives in the file that it names. */
bool answer_add(struct page *p, struct text *err);     /* what the matrix asked */
bool comparison_add(struct page *p, struct text *err); /* every cell in one table */
bool engine_add(struct page *p, struct text *err);     /* engines side by side */
bool wrapper_add(struct page *p, struct text *err);    /* kernel × wrapper */
bool quality_add(struct page *p, struct text *err);    /* losses, and what keeps them */
bool phase_add(struct page *p, struct text *err);      /* where the time goes */
bool ledger_add(struct page *p, struct text *err);     /* op by op, against floors */
bool allreduce_add(struct page *p, struct text *err);  /* the curve, size by size */
bool outlook_page_add(struct page *p, struct text *err); /* on more ranks */
bool gpu_add(struct page *p, struct text *err);          /* how well it was used */
bool memory_add(struct page *p, struct text *err);  /* by kind, planned, measured */
bool axis_add(struct page *p, struct text *err);    /* a table per parameter */
bool search_add(struct page *p, struct text *err);  /* largest batches, probed */
bool seed_add(struct page *p, struct text *err);    /* means over seeds */
bool hole_add(struct page *p, struct text *err);    /* what is not ok, and why */
size_t hole_damaged(const struct tallies *o);       /* records that cannot be read */
bool setting_add(struct page *p, struct text *err); /* what ran where, on what */
bool method_add(struct page *p, struct text *err);  /* how the numbers were made */
bool steps_add(struct page *p, struct text *err);   /* the loss, step by step */

/* Why timings tell less than they seem to, for the answer; true where it asks for
 * repeats. Nothing is said where there is nothing to warn of.
 */
bool trust_add(struct page *p);

/* The best of the curves, for the answer; false, and nothing said, where there are
 * none.
 */
bool allreduce_answer(struct page *p);

/* What the sign behind a speed-up in it means. */
#define COMPARISON_NOTE                                                                \
    TABLE_NOTE " Other work than the baseline's, another model or sequence length: "   \
               "no gain of a technique."

/* The comparison table alone, for the terminal too; the caller finishes it. */
void comparison_table(const struct tallies *o, struct table *t);

#endif
