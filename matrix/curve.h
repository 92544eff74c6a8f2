/*
 * The all-reduce curve: how long the ranks of a cell take to add up an array, by its
 * size. Rows travel as events `allreduce` and stay in record.json; whoever writes or
 * reads one does so here.
 */
#ifndef MATRIX_CURVE_H
#define MATRIX_CURVE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"

/* The sizes of every curve, ascending by a constant factor. */
#define CURVE_LEAST_BYTES (INT64_C(64) << 10)
#define CURVE_MOST_BYTES (INT64_C(1) << 30)
#define CURVE_FACTOR 4

#define CURVE_ROWS_MAX 256 /* a record holds no more */

struct curve_row {
    int64_t bytes; /* of the array on each rank */
    /* Of one all-reduce, over the repetitions, each as slow as its slowest rank. */
    double ms_median, ms_p10, ms_p90;
    double bus_bytes_per_s; /* bytes × 2(n − 1)/n ÷ the median, n ranks */
};

/* The last member, from the others: what a link of a ring of `ranks` carries. */
double curve_bus_bytes_per_s(int64_t bytes, double ms, int ranks);

/* A new reference: an object of the members under their names. */
json_t *curve_row_to_json(const struct curve_row *row);

/*
 * The reverse; other members of the object are ignored. False, with a sentence, where
 * one is missing or not positive.
 */
bool curve_row_from_json(const json_t *object, struct curve_row *out, struct text *err);

#endif
