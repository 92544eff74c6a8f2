#include "reports/tally.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/found.h"
#include "matrix/metric.h"
#include "reports/derive.h"
#include "reports/fresh.h"
#include "reports/human.h"

double tally_metric(const struct tally *o, const char *name) {
    const struct metric *m = metric_find(name);
    return m ? o->metrics[m - metrics] : NAN;
}

bool tally_counts(const struct tally *o) {
    return o->status == STATUS_OK && !o->stale;
}

bool tally_trains(const struct tally *o) {
    return params_integer(&o->cell->params, PARAM_TASK) == TASK_TRAIN;
}

bool tallies_have_task(const struct tallies *o, int64_t task) {
    for (size_t i = 0; i < o->count; i++) {
        const struct cell *cell = o->items[i].cell;
        if (!cell->excluded && params_integer(&cell->params, PARAM_TASK) == task) {
            return true;
        }
    }
    return false;
}

bool tally_met_expectation(const struct tally *o) {
    return o->cell->expect >= 0 &&
           ((int)o->status == o->cell->expect || o->status == STATUS_UNSUPPORTED);
}

bool tallies_are_timings(const struct tallies *o) {
    for (size_t i = 0; i < o->count; i++) {
        const struct cell *cell = o->items[i].cell;
        if (!cell->excluded && (cell->expect < 0 || cell->expect == STATUS_OK)) {
            return true;
        }
    }
    return false;
}

bool tally_may_drift(const struct tally *a, const struct tally *b) {
    return a->ok_count < 2 || b->ok_count < 2;
}

bool tally_does_other_work(const struct tallies *all, const struct tally *o) {
    for (int p = 0; all->baseline && p < PARAM_COUNT; p++) {
        if (context_is_shape((enum param)p) &&
                context_compare_value(&o->cell->params, &all->baseline->cell->params,
                        (enum param)p) != 0) {
            return true;
        }
    }
    return false;
}

double tally_speed_spread_pct(const struct tally *o) {
    return stats_spread_pct(&o->tps_stats) / 2;
}

bool tally_on_gpu(const struct tally *o) {
    return o->last && params_integer(&o->cell->params, PARAM_DEVICE) != DEVICE_CPU &&
           json_array_size(json_object_get(o->last->record.provenance, "gpus")) > 0;
}

// The worker's own word; else, where a CPU runs the ranks, their share of the cores.
int64_t tally_threads(const struct tally *o) {
    int64_t asked = params_integer(&o->cell->params, PARAM_THREADS);
    if (asked || !o->last) {
        return asked;
    }
    const struct record *r = &o->last->record;
    double told = fresh_provenance_number(r, "threads");
    if (told >= 1) {
        return (int64_t)told;
    }
    double cores = fresh_provenance_number(r, "cores");
    int64_t ranks = params_integer(&o->cell->params, PARAM_RANKS);
    if (tally_on_gpu(o) || !(cores >= 1) || ranks < 1) {
        return 0;
    }
    int64_t share = (int64_t)cores / ranks;
    return share < 1 ? 1 : share;
}

bool tally_shares_cores(const struct tally *o) {
    int64_t ranks = params_integer(&o->cell->params, PARAM_RANKS);
    return o->last && !tally_on_gpu(o) &&
           (double)(ranks * tally_threads(o)) >
                   fresh_provenance_number(&o->last->record, "cores");
}

double tally_found_batch(const struct tally *o) {
    struct found found = {0};
    return o->last && found_read(&o->last->record, &found) && found.trained
                   ? (double)found.batch
                   : NAN;
}

/* Readable, and made without a profiler: its numbers are the cell's own. */
static bool may_count(const struct result_attempt *a) {
    const char *profiler = a->record.profiler;
    return a->recorded && !a->damage && !(profiler && *profiler);
}

static bool is_incidental(enum status s) {
    return s == STATUS_PREEMPTED || s == STATUS_LOST || s == STATUS_INTERRUPTED;
}

// The attempts that count, ascending; the caller frees the array.
static const struct result_attempt **choose(const struct fresh *fresh,
        const struct result_cell *cell, size_t *count, char **stale) {
    const struct result_attempt **kept =
            text_allocate(cell->attempt_count * sizeof *kept);
    struct text because = {0};
    struct text newest = {0};
    struct text signature = {0};
    *count = 0;
    for (size_t i = 0; i < cell->attempt_count; i++) {
        const struct result_attempt *a = cell->attempts + i;
        if (may_count(a) && fresh_check(fresh, &a->record, &because)) {
            kept[(*count)++] = a;
        }
    }
    if (!*count) {
        // Nothing fresh: the newest stale one and those like it.
        for (size_t i = cell->attempt_count; i-- > 0;) {
            const struct result_attempt *a = cell->attempts + i;
            if (!may_count(a)) {
                continue;
            }
            text_clear(&signature);
            fresh_signature(&a->record, &signature);
            if (!*count) {
                text_clear(&because);
                fresh_check(fresh, &a->record, &because);
                *stale = text_copy(text_get(&because));
                text_add(&newest, text_get(&signature));
            }
            if (strcmp(text_get(&newest), text_get(&signature)) == 0) {
                kept[(*count)++] = a;
            }
        }
        for (size_t i = 0; i < *count / 2; i++) {
            const struct result_attempt *a = kept[i];
            kept[i] = kept[*count - 1 - i];
            kept[*count - 1 - i] = a;
        }
    }
    text_finish(&because);
    text_finish(&newest);
    text_finish(&signature);
    return kept;
}

static size_t keep_newest(
        const struct cell *cell, const struct result_attempt **kept, size_t count) {
    size_t solid = 0;
    for (size_t i = 0; i < count; i++) {
        solid += !is_incidental(kept[i]->record.status);
    }
    if (solid && solid < count) {
        size_t to = 0;
        for (size_t i = 0; i < count; i++) {
            if (!is_incidental(kept[i]->record.status)) {
                kept[to++] = kept[i];
            }
        }
        count = to;
    }
    if (!count) {
        return 0;
    }
    int64_t planned = params_integer(&cell->params, PARAM_REPEATS);
    int64_t asked = params_integer(&kept[count - 1]->record.params, PARAM_REPEATS);
    int64_t repeats = asked > planned ? asked : planned;
    size_t most = repeats > 1 ? (size_t)repeats : 1;
    if (count > most) {
        memmove(kept, kept + count - most, most * sizeof *kept);
        count = most;
    }
    return count;
}

static void take_metrics(
        struct tally *o, const struct result_attempt **kept, size_t count) {
    double *values = text_allocate(count * sizeof *values);
    for (int m = 0; m < metric_count; m++) {
        size_t known = 0;
        for (size_t i = 0; i < count; i++) {
            // Not ok: what that one attempt knew, such as the bytes it had planned.
            bool use = o->status == STATUS_OK ? kept[i]->record.status == STATUS_OK
                                              : i == count - 1;
            if (use && metrics[m].per_attempt) {
                values[known++] = record_metric(&kept[i]->record, metrics[m].name);
            }
        }
        struct stats s = stats_of(values, known);
        o->metrics[m] = s.median;
        if (strcmp(metrics[m].name, "tokens_per_s") == 0) {
            o->tps_stats = s;
        } else if (strcmp(metrics[m].name, "peak_bytes") == 0) {
            o->peak_stats = s;
        }
    }
    free(values);
    double tps = tally_metric(o, "tokens_per_s");
    o->tps = (struct range){tps, tps, tps};
    if (o->tps_stats.count >= 2) {
        o->tps.low = o->tps_stats.minimum;
        o->tps.high = o->tps_stats.maximum;
        return;
    }
    // One attempt: as fast as its slow or its quick steps.
    double median = tally_metric(o, "step_ms_median");
    double slow = stats_ratio(median, tally_metric(o, "step_ms_p90"));
    double quick = stats_ratio(median, tally_metric(o, "step_ms_p10"));
    o->tps.low = isfinite(slow) ? tps * slow : tps;
    o->tps.high = isfinite(quick) ? tps * quick : tps;
}

static void add_detail(struct text *out, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

static void add_detail(struct text *out, const char *format, ...) {
    if (out->size) {
        text_add(out, ", ");
    }
    va_list args;
    va_start(args, format);
    text_vaddf(out, format, args);
    va_end(args);
}

// Add `detail` unless the record's sentence says it already.
static void add_unsaid(struct text *out, const char *said, const char *detail) {
    if (!strstr(said, detail)) {
        add_detail(out, "%s", detail);
    }
}

static void add_bytes(struct text *out, const struct record *r) {
    if (r->bytes_asked >= 0) {
        add_detail(out, "asked for ");
        human_number(out, HUMAN_BYTES, (double)r->bytes_asked);
    }
    if (r->bytes_free >= 0) {
        if (r->bytes_asked >= 0) {
            text_add(out, " with ");
        } else {
            add_detail(out, "%s", "");
        }
        human_number(out, HUMAN_BYTES, (double)r->bytes_free);
        text_add(out, " free");
    }
}

static void describe_failure(const struct record *r, struct text *out) {
    const char *said = r->error && *r->error ? r->error : "the record gives no reason";
    struct text details = {0};
    char detail[128];
    if (r->guilty_rank >= 0 && r->rank_count > 1) {
        snprintf(detail, sizeof detail, "rank %d", r->guilty_rank);
        add_unsaid(&details, said, detail);
    }
    if (r->phase && *r->phase) {
        snprintf(detail, sizeof detail, "phase %s", r->phase);
        add_unsaid(&details, said, detail);
    }
    if (r->last_step >= 0) {
        snprintf(detail, sizeof detail, "after step %lld", (long long)r->last_step);
        add_unsaid(&details, said, detail);
    }
    if (r->signal) {
        const char *name = sigabbrev_np(r->signal);
        snprintf(detail, sizeof detail, "SIG%s", name ? name : "?");
        add_unsaid(&details, said, detail);
    } else if (r->exit_code > 0) {
        snprintf(detail, sizeof detail, "code %d", r->exit_code);
        if (!strstr(said, detail)) {
            add_detail(&details, "exit code %d", r->exit_code);
        }
    }
    add_bytes(&details, r);
    if (r->predicted) {
        add_detail(&details, "foreseen by the plan");
    }
    text_add(out, said);
    if (details.size) {
        text_addf(out, " (%s)", text_get(&details));
    }
    text_finish(&details);
}

// A cell none of whose attempts can be read.
static void settle_without_record(struct tally *o) {
    o->status = STATUS_NOT_RUN;
    if (o->cell->excluded) {
        o->status = STATUS_EXCLUDED;
        o->cause = text_copy(o->cell->excluded);
        return;
    }
    struct text cause = {0};
    for (size_t i = 0; i < o->result->attempt_count && !cause.size; i++) {
        const struct result_attempt *a = o->result->attempts + i;
        if (a->damage) {
            o->status = STATUS_LOST;
            text_addf(
                    &cause, "attempt %d left a record that cannot be read", a->number);
        } else if (!a->recorded) {
            text_addf(&cause, "attempt %d is running, or ended without a record",
                    a->number);
        } else {
            text_addf(&cause, "attempted under '%s' only", a->record.profiler);
        }
    }
    text_add(&cause, cause.size ? "" : "not attempted yet");
    o->cause = text_take(&cause);
}

static void add_note(struct tally *o, struct text *note) {
    if (note->size) {
        o->note = text_take(note);
    }
}

static void note_other_ends(const struct tally *o, const struct result_attempt **kept,
        size_t count, struct text *note) {
    for (size_t i = 0; i < count; i++) {
        const struct record *r = &kept[i]->record;
        if (r->status != o->status) {
            add_detail(note, "attempt %d ended %s", kept[i]->number,
                    status_name(r->status));
        }
        if (r->leaked > 0) {
            add_detail(note, "attempt %d left %d process%s, killed", kept[i]->number,
                    r->leaked, r->leaked == 1 ? "" : "es");
        }
    }
}

static void note_profiles(const struct tally *o, struct text *note) {
    for (size_t i = 0; i < o->result->attempt_count; i++) {
        const struct result_attempt *a = o->result->attempts + i;
        const struct record *r = &a->record;
        if (!r->profiler || !*r->profiler) {
            continue;
        }
        add_detail(note, "attempt %d ran under '%s' and ended %s: used in no number, ",
                a->number, r->profiler, status_name(r->status));
        if (r->profile && *r->profile) {
            text_addf(note, "its profile is %s in %s", r->profile, a->folder);
        } else {
            text_add(note, "and it left no profile");
        }
    }
}

static void settle(struct tally *o, const struct fresh *fresh) {
    size_t count;
    const struct result_attempt **kept = choose(fresh, o->result, &count, &o->stale);
    count = keep_newest(o->cell, kept, count);
    for (int m = 0; m < metric_count; m++) {
        o->metrics[m] = NAN;
    }
    o->tps = (struct range){NAN, NAN, NAN};
    o->tps_stats = o->peak_stats = stats_of(NULL, 0);
    struct text note = {0};
    note_profiles(o, &note);
    o->attempts = kept;
    if (!count) {
        settle_without_record(o);
        add_note(o, &note);
        return;
    }
    o->last = kept[count - 1];
    o->status = o->last->record.status;
    o->counted = count;
    for (size_t i = 0; i < count; i++) {
        o->ok_count += kept[i]->record.status == STATUS_OK;
    }
    if (o->status != STATUS_OK) {
        struct text cause = {0};
        describe_failure(&o->last->record, &cause);
        o->cause = text_take(&cause);
    }
    take_metrics(o, kept, count);
    note_other_ends(o, kept, count, &note);
    add_note(o, &note);
}

static void find_what_varies(struct tallies *o) {
    const struct params *first = NULL;
    for (size_t i = 0; i < o->count; i++) {
        const struct cell *cell = o->items[i].cell;
        if (cell->excluded) {
            continue;
        }
        first = first ? first : &cell->params;
        context_add_differences(&o->varies, first, &cell->params);
    }
}

void tallies_init(struct tallies *o, const struct results *results) {
    *o = (struct tallies){.results = results, .count = results->count};
    o->items = text_allocate_zeroed(o->count, sizeof *o->items);
    struct fresh *fresh = fresh_create(results);
    for (size_t i = 0; i < o->count; i++) {
        struct tally *item = o->items + i;
        item->result = results->cells + i;
        item->cell = item->result->cell;
        item->metrics = text_allocate((size_t)metric_count * sizeof *item->metrics);
        settle(item, fresh);
    }
    fresh_destroy(fresh);
    find_what_varies(o);
    derive_metrics(o);
}

void tallies_finish(struct tallies *o) {
    for (size_t i = 0; i < o->count; i++) {
        struct tally *item = o->items + i;
        free(item->stale);
        free(item->attempts);
        free(item->metrics);
        free(item->cause);
        free(item->note);
        free(item->scaling_missing);
        free(item->mfu_missing);
    }
    free(o->items);
    free(o->baseline_missing);
    *o = (struct tallies){0};
}
