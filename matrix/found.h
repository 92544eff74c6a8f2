/* What the search of `batch: max` found, as the attempt's record has it. */
#ifndef MATRIX_FOUND_H
#define MATRIX_FOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/record.h"

struct found {
    int64_t batch; /* that the attempt was made with; 0 where the search did not end */
    bool probed;   /* a probe trained with it; else the attempt shows what ails it */
    bool trained;  /* and so did the attempt itself */
};

/* Whether one that ended so had the memory and the time that training takes. */
bool found_trains(enum status status);

/* False, `f` zeroed, where the attempt began with no search. */
bool found_read(const struct record *r, struct found *f);

#endif
