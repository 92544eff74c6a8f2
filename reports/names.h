/*
 * An enumeration that stays readable however long it gets: "`a`, `b` and 3 more".
 */
#ifndef REPORTS_NAMES_H
#define REPORTS_NAMES_H

#include "matrix/text.h"

struct names {
    struct text *out;
    size_t most;  /* names that are written out */
    size_t count; /* names so far, written out or not */
};

/* Count a name; whether the caller is to append it to `out`, where a comma stands now
 * if another name precedes. */
bool names_next(struct names *n);

/* Append how many more there are, if any. */
void names_finish(const struct names *n);

#endif
