/*
 * Which cells are alike but for some parameters: the ground of every fair comparison.
 * Only hashed parameters count; time limits and repeats change no result.
 */
#ifndef REPORTS_CONTEXT_H
#define REPORTS_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/axes.h"
#include "matrix/text.h"

/* A set of parameters. */
struct context {
    bool has[PARAM_COUNT];
};

/*
 * What a scaling series varies. Threads are matched by what they came to, not by how
 * they were asked for.
 */
extern const struct context context_scaling;

/* Whether ranks share `global_batch`; `batch` is then a default that this displaced. */
bool context_is_strong(const struct params *p);

/*
 * Order two cells by the parameters that are not in `except`; 0 where they agree in all
 * of them. A total order, so equal cells come together when sorted.
 */
int context_compare(
        const struct params *a, const struct params *b, const struct context *except);

/*
 * Order two values of one parameter: numbers by size, choices by their place. Where
 * ranks share `global_batch`, `batch` is that fact, whatever the size, and comes last.
 */
int context_compare_value(
        const struct params *a, const struct params *b, enum param which);

/* Add to `c` the hashed parameters in which two cells differ. */
void context_add_differences(
        struct context *c, const struct params *a, const struct params *b);

/* Append the value of one parameter: "flash"; "shared" of a batch that ranks share. */
void context_show_value(const struct params *p, enum param which, struct text *out);

/*
 * Append "kernel=flash, precision=bf16": the parameters in `which`, in table order; for
 * a `batch` that ranks share, `global_batch`.
 */
void context_show(
        const struct params *p, const struct context *which, struct text *out);

/*
 * The parameters that make a token's work another one: the shape of the model and the
 * length of its sequences. Speeds across them say nothing about a technique.
 */
bool context_is_shape(enum param which);

/* The parameters that make a technique rather than a workload, design §4. */
bool context_is_technique(enum param which);

#endif
