/*
 * The command line, parsed against one table from which usage is printed too. FILEs
 * come before options; an option that takes a list takes all words up to the next
 * option.
 */
#ifndef RUNNER_OPTIONS_H
#define RUNNER_OPTIONS_H

#include <stdbool.h>

#include "matrix/cell.h"
#include "matrix/status.h"
#include "matrix/text.h"

enum command {
    COMMAND_RUN,
    COMMAND_PLAN,
    COMMAND_TRY,
    COMMAND_CLEAN,
    COMMAND_REPORT,
    COMMAND_FORECAST,
    COMMAND_DEVICES,
    COMMAND_SUPERVISE,
    COMMAND_HELP,
    COMMAND_VERSION
};

/* A NULL-terminated list of words; they point into argv. */
struct words {
    const char **items; /* never NULL once parsed */
    int count;
};

struct options {
    enum command command;
    bool help; /* of `command` */
    struct words files, tags, only, skip, where, set, retry, devices, ranks;
    const char *out;                       /* --out, "results" */
    const char *profile;                   /* --profile, NULL: no cell is */
    const char *batch_size_set;            /* "batch=N" of --batch-size; owned */
    const char *link, *network;            /* GB/s, as typed; NULL: not given */
    const char *latency, *network_latency; /* microseconds, likewise */
    int nodes, per_node;                   /* 0: not given */
    int jobs;                              /* --jobs, 1 */
    int repeats;                           /* --repeats, 0: each cell's own */
    bool fresh, keep_stale, strict, json, memory, yes;
};

/* On failure `o` needs no finish; the sentence names option, value and remedy. */
bool options_parse(int argc, char **argv, struct options *o, struct text *err);
void options_finish(struct options *o);

/* The selection that these options ask for; points into `o`. */
struct selection options_selection(const struct options *o);

/* Append the usage of one command, or of all where `command` is COMMAND_HELP. */
void options_usage(enum command command, struct text *out);

#endif
