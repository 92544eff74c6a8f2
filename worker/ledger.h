/*
 * The raw side of the gap ledger: what the ops of one training step cost, and what they
 * could not do without. Ops of one kind that produce the same thing are one row.
 *
 * Life: zeroed, then engine_step_ops() a few times, ledger_to_json(), ledger_finish().
 */
#ifndef WORKER_LEDGER_H
#define WORKER_LEDGER_H

#include <jansson.h>
#include <stdbool.h>

#include "worker/parameters.h"
#include "worker/program.h"
#include "worker/shape.h"

#define LEDGER_STEPS 3  /* measured at most; a row's time is their median */
#define LEDGER_ROWS 256 /* at most, so that they fit into one event */
#define LEDGER_MARKS 32 /* empty pairs of marks that are timed */

struct ledger_row {
    enum op_kind kind;
    char what[80];       /* the tensor that it writes first, or the parameter whose
                            gradient that is, without the number of its layer */
    int64_t calls;       /* in one step */
    double bytes, flops; /* of all of them together */
    double ms[LEDGER_STEPS];
};

struct ledger {
    struct ledger_row *rows; /* in the order in which they first run */
    int count;
    int *of_op; /* the row of each op of the program */
    int steps;
    double mark_ms; /* between two marks with nothing between them */
};

/*
 * Rows of a step of `micros` micro-steps, no times yet. Bytes: each operand once, what
 * is read and what is written; scratch is not counted, nor more rows of an embedding's
 * tables than there are tokens. FLOPs: 2·m·n·k of products; attention by the pairs that
 * see each other, 4 a pair, head and element forward, 10 backward; 0 elsewhere.
 */
void ledger_init(struct ledger *l, const struct program *p,
        const struct parameters *parameters, const struct shape *shape, int micros);
void ledger_finish(struct ledger *l); /* zeroed is fine */

/* Take the times of one more step, by row; those past LEDGER_STEPS are left out. */
void ledger_add_step(struct ledger *l, const double *ms);

/* The fields of the event `ops`; new reference. */
json_t *ledger_to_json(const struct ledger *l);

#endif
