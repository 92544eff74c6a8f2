#include "runner/options.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "matrix/axes.h"
#include "matrix/nearest.h"

#define BIT(c) (1U << (c))
#define SELECTING (BIT(COMMAND_RUN) | BIT(COMMAND_PLAN) | BIT(COMMAND_CLEAN))
// What can be said of cells that are there already.
#define CHOOSING (SELECTING | BIT(COMMAND_FORECAST))
#define RUNNING (BIT(COMMAND_RUN) | BIT(COMMAND_TRY))

struct command_line {
    const char *name;
    enum command command;
    const char *arguments;
    const char *help;
};

static const struct command_line commands[] = {
        {"run", COMMAND_RUN, "[FILE…] [options]",
                "run the selected cells that have no fresh result yet (the default)"},
        {"plan", COMMAND_PLAN, "[FILE…] [options]",
                "list the cells, what is excluded and why; nothing runs"},
        {"try", COMMAND_TRY, "NAME key=value… [options]",
                "one cell by hand, in a results folder of its own"},
        {"clean", COMMAND_CLEAN, "[FILE… | DIR…] [options]",
                "remove the results of the selected cells, or of a folder (shows what "
                "first)"},
        {"report", COMMAND_REPORT, "[DIR…] [options]",
                "rebuild every table from the records alone"},
        {"forecast", COMMAND_FORECAST, "[DIR…] [options]",
                "scaling beyond the ranks at hand, from measured phases and the "
                "all-reduce curve"},
        {"devices", COMMAND_DEVICES, "[options]",
                "what this machine has, and which worker serves it"},
        {"supervise", COMMAND_SUPERVISE, "DIR",
                "the supervisor of one attempt (started by run)"},
};

/* Named in the design, not there yet: said plainly rather than "unknown". */
static const char *const later[] = {"compare"};

enum option_kind { FLAG, NUMBER, TEXT, LIST };

struct option_line {
    const char *name;
    enum option_kind kind;
    size_t offset; /* in struct options */
    unsigned commands;
    const char *argument;
    const char *help;
};

static const struct option_line option_lines[] = {
        {"--tags", LIST, offsetof(struct options, tags), CHOOSING, "TAG…",
                "experiments that carry any of these tags"},
        {"--only", LIST, offsetof(struct options, only), CHOOSING, "NAME…",
                "only these experiments, cell ids, hashes or globs"},
        {"--skip", LIST, offsetof(struct options, skip), CHOOSING, "NAME…",
                "none of these"},
        {"--where", LIST, offsetof(struct options, where), CHOOSING, "EXPR…",
                "cells for which 'batch>=16' holds (= != < <= > >=, globs)"},
        {"--set", LIST, offsetof(struct options, set), SELECTING, "KEY=VALUE…",
                "override a parameter in every cell"},
        {"--batch-size", TEXT, offsetof(struct options, batch_size_set), SELECTING, "N",
                "the same as --set batch=N"},
        {"--out", TEXT, offsetof(struct options, out),
                CHOOSING | RUNNING | BIT(COMMAND_REPORT), "DIR",
                "the results folder (default: results)"},
        {"--repeats", NUMBER, offsetof(struct options, repeats), RUNNING, "N",
                "attempts per cell (default: what the matrix says, else 1)"},
        {"--retry", LIST, offsetof(struct options, retry), RUNNING, "STATUS…",
                "run cells again that ended so; 'all': every status but ok"},
        {"--fresh", FLAG, offsetof(struct options, fresh), RUNNING, "",
                "run everything selected again"},
        {"--keep-stale", FLAG, offsetof(struct options, keep_stale), RUNNING, "",
                "leave results of another build, data set or machine as they are"},
        {"--jobs", NUMBER, offsetof(struct options, jobs), RUNNING, "N",
                "cells at a time (default: 1, so that timings are undisturbed)"},
        {"--devices", LIST, offsetof(struct options, devices), RUNNING, "0,1",
                "the GPUs that may be used (default: all)"},
        {"--strict", FLAG, offsetof(struct options, strict), RUNNING, "",
                "an unexpected oom_* or unsupported cell does not pass"},
        {"--profile", TEXT, offsetof(struct options, profile), BIT(COMMAND_RUN), "CELL",
                "run this cell alone, once, under nsys or ncu; used in no statistics"},
        {"--memory", FLAG, offsetof(struct options, memory), BIT(COMMAND_PLAN), "",
                "ask the worker's planner for the bytes of each cell"},
        {"--ranks", LIST, offsetof(struct options, ranks), BIT(COMMAND_FORECAST), "N…",
                "for these numbers of ranks (default: 2, 4, 8 … as many as the nodes "
                "have)"},
        {"--per-node", NUMBER, offsetof(struct options, per_node),
                BIT(COMMAND_FORECAST), "N", "ranks of a node (default: 8)"},
        {"--nodes", NUMBER, offsetof(struct options, nodes), BIT(COMMAND_FORECAST), "N",
                "nodes at most (default: 1; 8 with --network)"},
        {"--link", TEXT, offsetof(struct options, link), BIT(COMMAND_FORECAST), "GB/s",
                "of a rank within a node, one way, instead of a measured curve"},
        {"--latency", TEXT, offsetof(struct options, latency), BIT(COMMAND_FORECAST),
                "US", "of a hop within a node, with --link (default: 5)"},
        {"--network", TEXT, offsetof(struct options, network), BIT(COMMAND_FORECAST),
                "GB/s", "of a node to the others, one way, all its adapters together"},
        {"--network-latency", TEXT, offsetof(struct options, network_latency),
                BIT(COMMAND_FORECAST), "US", "of a hop between nodes (default: 10)"},
        {"--json", FLAG, offsetof(struct options, json),
                BIT(COMMAND_PLAN) | BIT(COMMAND_DEVICES) | BIT(COMMAND_REPORT) |
                        BIT(COMMAND_FORECAST),
                "", "print JSON"},
        {"--yes", FLAG, offsetof(struct options, yes), BIT(COMMAND_CLEAN), "",
                "really remove (default: only show)"},
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const struct command_line *find_command(const char *name) {
    for (size_t i = 0; i < COUNT(commands); i++) {
        if (!strcmp(commands[i].name, name)) {
            return &commands[i];
        }
    }
    return NULL;
}

static const struct option_line *find_option(const char *name, size_t size) {
    for (size_t i = 0; i < COUNT(option_lines); i++) {
        const char *n = option_lines[i].name;
        if (strlen(n) == size && !strncmp(n, name, size)) {
            return &option_lines[i];
        }
    }
    return NULL;
}

static const char *command_name(enum command c) {
    for (size_t i = 0; i < COUNT(commands); i++) {
        if (commands[i].command == c) {
            return commands[i].name;
        }
    }
    return "help";
}

static void add_word(struct words *w, const char *word) {
    w->items = text_reallocate(w->items, ((size_t)w->count + 2) * sizeof *w->items);
    w->items[w->count++] = word;
    w->items[w->count] = NULL;
}

static bool is_option(const char *word) {
    return word[0] == '-' && word[1] != '\0';
}

static bool to_number(
        const struct option_line *l, const char *word, int *out, struct text *err) {
    char *end;
    errno = 0;
    long n = strtol(word, &end, 10);
    if (end == word || *end || errno || n < 1 || n > INT_MAX) {
        return text_fail(err, "%s: found '%s', expected a whole number from 1 on",
                l->name, word);
    }
    *out = (int)n;
    return true;
}

/* `next`: the word that stands where a value should; NULL: none does. */
static bool fail_without_value(
        const struct option_line *l, const char *next, struct text *err) {
    return next ? text_fail(err, "%s: found '%s', expected %s", l->name, next,
                          l->argument)
                : text_fail(err, "%s: found nothing behind it, expected %s", l->name,
                          l->argument);
}

/* Consume the words of option `l` from argv[*at] on; `inline_value` stood behind '='.
 */
static bool take_option(struct options *o, const struct option_line *l,
        const char *inline_value, int argc, char **argv, int *at, struct text *err) {
    void *field = (char *)o + l->offset;
    if (l->kind == FLAG) {
        if (inline_value) {
            return text_fail(
                    err, "%s takes no value, found '%s'", l->name, inline_value);
        }
        *(bool *)field = true;
        return true;
    }
    int first = *at;
    if (l->kind == LIST) {
        if (inline_value) {
            add_word(field, inline_value);
        }
        while (!inline_value && *at < argc && !is_option(argv[*at])) {
            add_word(field, argv[(*at)++]);
        }
        return inline_value || *at > first ||
               fail_without_value(l, *at < argc ? argv[*at] : NULL, err);
    }
    if (!inline_value && (*at >= argc || is_option(argv[*at]))) {
        return fail_without_value(l, *at < argc ? argv[*at] : NULL, err);
    }
    const char *word = inline_value ? inline_value : argv[(*at)++];
    if (l->kind == NUMBER) {
        return to_number(l, word, field, err);
    }
    *(const char **)field = word;
    return true;
}

static bool unknown_option(
        const struct options *o, const char *word, struct text *err) {
    struct nearest n;
    nearest_init(&n, word);
    for (size_t i = 0; i < COUNT(option_lines); i++) {
        if (option_lines[i].commands & BIT(o->command)) {
            nearest_offer(&n, option_lines[i].name);
        }
    }
    const char *nearest = nearest_likely(&n);
    text_addf(err, "unknown option '%s'", word);
    if (nearest) {
        text_addf(err, ", did you mean '%s'?", nearest);
    } else {
        text_addf(err, "; 'runner %s --help' lists them", command_name(o->command));
    }
    return false;
}

static bool parse_options(
        struct options *o, int argc, char **argv, int at, struct text *err) {
    while (at < argc) {
        const char *word = argv[at++];
        if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            o->help = true;
            continue;
        }
        if (!is_option(word)) {
            return text_fail(err,
                    "'%s' stands after an option that takes no list; "
                    "files come before options",
                    word);
        }
        const char *equals = strchr(word, '=');
        size_t size = equals ? (size_t)(equals - word) : strlen(word);
        const struct option_line *l = find_option(word, size);
        if (!l) {
            return unknown_option(o, word, err);
        }
        if (!(l->commands & BIT(o->command))) {
            return text_fail(err, "'runner %s' has no option %s",
                    command_name(o->command), l->name);
        }
        if (!take_option(o, l, equals ? equals + 1 : NULL, argc, argv, &at, err)) {
            return false;
        }
    }
    return true;
}

/* Numbers whose end the matrix language or this process's limits set. */
static bool check_ends(const struct options *o, struct text *err) {
    const int per_job = 4; // descriptors: twice what the runner has for a cell
    const double repeats = axes_get(PARAM_REPEATS)->maximum;
    if (o->repeats > repeats) {
        return text_fail(err,
                "--repeats: found '%d', expected a whole number from 1 to %.0f",
                o->repeats, repeats);
    }
    struct rlimit files = {.rlim_cur = RLIM_INFINITY};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    rlim_t jobs = files.rlim_cur / per_job;
    return o->jobs == 1 || (rlim_t)o->jobs <= jobs ||
           text_fail(err,
                   "--jobs: found '%d', expected at most %llu: as many files may be "
                   "open, at %d a cell",
                   o->jobs, (unsigned long long)jobs, per_job);
}

static bool check(struct options *o, struct text *err) {
    if (!check_ends(o, err)) {
        return false;
    }
    if (o->help) {
        return true;
    }
    for (int i = 0; i < o->retry.count; i++) {
        enum status s;
        if (strcmp(o->retry.items[i], "all") && !status_parse(o->retry.items[i], &s)) {
            text_addf(err, "--retry: unknown status '%s', expected all",
                    o->retry.items[i]);
            for (int k = STATUS_OK; k < STATUS_EXCLUDED; k++) {
                text_addf(err, ", %s", status_name((enum status)k));
            }
            return false;
        }
    }
    if (o->command == COMMAND_SUPERVISE && o->files.count != 1) {
        return text_fail(err, "'runner supervise' takes one attempt's folder");
    }
    if (o->command == COMMAND_DEVICES && o->files.count) {
        return text_fail(
                err, "'runner devices' takes no argument '%s'", o->files.items[0]);
    }
    if (o->command == COMMAND_TRY && o->files.count == 0) {
        return text_fail(err, "'runner try' needs a name: runner try NAME key=value…");
    }
    if (o->profile && (o->only.count || o->tags.count)) {
        return text_fail(err, "--profile takes one cell; leave --only and --tags out");
    }
    if (!*o->out) {
        return text_fail(err, "--out needs a folder's name");
    }
    return true;
}

static void unknown_command(const char *word, struct text *err) {
    struct nearest n;
    nearest_init(&n, word);
    for (size_t i = 0; i < COUNT(commands); i++) {
        nearest_offer(&n, commands[i].name);
    }
    const char *likely = nearest_likely(&n);
    text_addf(err, "unknown command '%s'", word);
    if (likely) {
        text_addf(err, ", did you mean '%s'?", likely);
    } else {
        text_add(err, "; 'runner --help' lists them");
    }
}

bool options_parse(int argc, char **argv, struct options *o, struct text *err) {
    *o = (struct options){.command = COMMAND_RUN, .out = "results", .jobs = 1};
    struct words *all[] = {&o->files, &o->tags, &o->only, &o->skip, &o->where, &o->set,
            &o->retry, &o->devices, &o->ranks};
    for (size_t i = 0; i < COUNT(all); i++) {
        all[i]->items = text_allocate_zeroed(1, sizeof *all[i]->items);
    }
    int at = 1;
    if (at < argc) {
        const char *word = argv[at];
        const struct command_line *c = find_command(word);
        for (size_t i = 0; i < COUNT(later); i++) {
            if (!strcmp(word, later[i])) {
                text_fail(err, "'runner %s' is not part of this version", word);
                goto failed;
            }
        }
        if (c) {
            o->command = c->command;
            at++;
        } else if (!strcmp(word, "--help") || !strcmp(word, "-h") ||
                   !strcmp(word, "help")) {
            o->command = COMMAND_HELP;
            return true;
        } else if (!strcmp(word, "--version")) {
            o->command = COMMAND_VERSION;
            return true;
        } else if (!is_option(word) && !strchr(word, '.') && !strchr(word, '/')) {
            unknown_command(word, err);
            goto failed;
        }
    }
    while (at < argc && !is_option(argv[at])) {
        add_word(&o->files, argv[at++]);
    }
    if (!parse_options(o, argc, argv, at, err) || !check(o, err)) {
        goto failed;
    }
    if (o->profile) {
        add_word(&o->only, o->profile);
    }
    if (o->batch_size_set) {
        struct text t = {0};
        text_addf(&t, "batch=%s", o->batch_size_set);
        o->batch_size_set = text_take(&t);
        add_word(&o->set, o->batch_size_set);
    }
    return true;
failed:
    o->batch_size_set = NULL;
    options_finish(o);
    return false;
}

void options_finish(struct options *o) {
    free(o->files.items);
    free(o->tags.items);
    free(o->only.items);
    free(o->skip.items);
    free(o->where.items);
    free(o->set.items);
    free(o->retry.items);
    free(o->devices.items);
    free(o->ranks.items);
    free((char *)o->batch_size_set);
    *o = (struct options){0};
}

struct selection options_selection(const struct options *o) {
    return (struct selection){
            .tags = o->tags.count ? o->tags.items : NULL,
            .only = o->only.count ? o->only.items : NULL,
            .only_option = o->profile ? "--profile" : NULL,
            .skip = o->skip.count ? o->skip.items : NULL,
            .where = o->where.count ? o->where.items : NULL,
            .set = o->set.count ? o->set.items : NULL,
    };
}

static void add_parameters(struct text *out) {
    const char *group = "";
    text_add(out, "\nparameters:\n");
    for (int i = 0; i < PARAM_COUNT; i++) {
        const struct axis *a = axes_get((enum param)i);
        struct params p;
        struct text fallback = {0};
        params_init(&p);
        params_show(&p, (enum param)i, &fallback);
        if (strcmp(group, a->group)) {
            group = a->group;
            text_addf(out, "  %s\n", group);
        }
        text_addf(out, "    %-17s %s%s%s%s (default: %s)\n", a->name, a->help,
                *a->unit ? " [" : "", a->unit, *a->unit ? "]" : "",
                fallback.size ? text_get(&fallback) : "none");
        if (a->type == AXIS_CHOICE) {
            text_add(out, "                      one of");
            for (const char *const *c = a->choices; *c; c++) {
                text_addf(out, "%s %s", c == a->choices ? "" : ",", *c);
            }
            text_add(out, "\n");
        }
        text_finish(&fallback);
    }
}

void options_usage(enum command command, struct text *out) {
    bool all = command == COMMAND_HELP;
    text_add(
            out, all ? "usage: runner [command] [FILE…] [options]\n\ncommands:\n" : "");
    for (size_t i = 0; i < COUNT(commands); i++) {
        const struct command_line *c = &commands[i];
        if (all) {
            text_addf(out, "  %-10s %s\n", c->name, c->help);
        } else if (c->command == command) {
            text_addf(
                    out, "usage: runner %s %s\n\n%s\n", c->name, c->arguments, c->help);
        }
    }
    if (!all) {
        bool any = false;
        for (size_t i = 0; i < COUNT(option_lines); i++) {
            const struct option_line *l = &option_lines[i];
            if (l->commands & BIT(command)) {
                text_add(out, any ? "" : "\noptions:\n");
                any = true;
                text_addf(out, "  %s %s\n        %s\n", l->name, l->argument, l->help);
            }
        }
    }
    if (command == COMMAND_PLAN) {
        add_parameters(out);
    }
    if (all) {
        text_add(out,
                "\nWithout FILE: every matrix/*.yaml that is not manual. FILEs come "
                "before options.\n'runner COMMAND --help' lists a command's options; "
                "'runner plan --help' every parameter.\nexit: 0 every cell passed, "
                "1 some cell did not, 2 usage or matrix error, 130 interrupted\n");
    }
}
