/*
 * Attempts in the results folder: what a cell already has, which of it still stands,
 * and the claim to a new one. The layout is matrix/results' business, the rules of
 * resume (design §5) are here.
 *
 * An attempt's folder appears whole: spec.json and owner.json are written into
 * `.claim-<nonce>`, which is then renamed to attempt-N. So an attempt without
 * owner.json cannot be, and of two runners that want the same N one is refused.
 */
#ifndef RUNNER_STORE_H
#define RUNNER_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/cell.h"
#include "matrix/record.h"
#include "matrix/status.h"
#include "matrix/text.h"
#include "runner/machine.h"
#include "runner/refuted.h"
#include "runner/workers.h"

struct store {
    const struct machine *machine;
    const struct workers *workers;
    bool fresh;               /* --fresh: nothing that is there stands */
    bool keep_stale;          /* --keep-stale */
    bool retry[STATUS_COUNT]; /* --retry, by status */
    int repeats;              /* --repeats, 0: the cell's own */
    const char *profiler;     /* path of one that claimed attempts run under, "" none */
};

/* What a cell has. */
struct store_cell {
    int last_number;         /* highest N of attempt-N, 0 where there is none */
    int needed;              /* attempts still to run */
    bool live;               /* somebody else runs it right now: left alone */
    bool recorded;           /* there is a record: the next three hold */
    enum status last_status; /* of the last one … */
    bool last_stale;         /* … whether it is stale … */
    int last_recorded;       /* … and the N of its attempt-N */
    bool predicted;
    int64_t expected_ms;    /* wall time of the last record that ended by itself; -1 */
    struct refuted refuted; /* by those that count today; kept up while cells run */
};

/*
 * Look at `cell` below `matrix_folder`. With `repair`, attempts whose owner died are
 * first swept (their processes killed) and recorded as `lost`; a supervisor that has
 * outlived its runner is given the time to finish. Without it nothing is changed. False
 * where a lost attempt cannot be recorded.
 */
bool store_look(const struct store *s, const char *matrix_folder,
        const struct cell *cell, bool repair, struct store_cell *out, struct text *err);

/*
 * Do what store_look() with `repair` does for every attempt below `matrix_folder`, also
 * of cells that are not selected or no longer in the matrix: what a killed run left is
 * swept by the next one, whatever that one is about.
 */
bool store_repair(const struct store *s, const char *matrix_folder, struct text *err);

enum store_claim { STORE_CLAIMED, STORE_TAKEN, STORE_FAILED };

/*
 * Claim the attempt after those that the cell `has` for `worker` (NULL-terminated; NULL
 * where nothing will be started). `folder` gets the attempt's path. STORE_TAKEN where
 * another runner was faster; STORE_FAILED, with a sentence, where the folder cannot be
 * written.
 */
enum store_claim store_claim(const struct store *s, const char *matrix_folder,
        const struct cell *cell, const struct store_cell *has, char *const *worker,
        struct text *folder, struct text *err);

/*
 * Deal with an attempt whose supervisor has ended: where it left no record (it was
 * killed), sweep what it started and record `lost` with `sentence`. `cell` and `number`
 * stand in for a spec.json that cannot be read; without a cell (NULL) such an attempt
 * stays unrecorded. False where the record cannot be written.
 */
bool store_settle(const struct store *s, const char *folder, const struct cell *cell,
        int number, const char *sentence, struct text *err);

/*
 * Write the record of a claimed attempt for which nothing was started, or of which
 * nothing is known but its end.
 */
bool store_record_plainly(const struct store *s, const char *folder,
        const struct cell *cell, int number, enum status status, const char *sentence,
        struct text *err);

/* Take the words of --retry, which are known to be statuses or "all". */
void store_set_retry(struct store *s, const char *const *words);

/* Whether somebody alive owns an attempt of the cell folder `path`. */
bool store_is_live(const struct machine *m, const char *path);

#endif
