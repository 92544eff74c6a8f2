#include "reports/columns.h"

#include <math.h>

#include "matrix/metric.h"
#include "reports/context.h"
#include "reports/csv.h"
#include "reports/fresh.h"
#include "reports/human.h"

// A column beyond identity, parameters and metrics. One of `text`, `number` and
// `provenance` (a field of the record's) says where its value comes from.
struct column {
    const char *name, *unit, *help;
    void (*text)(const struct tallies *all, const struct tally *o, struct text *out);
    double (*number)(const struct tally *o);
    const char *provenance;
};

static const char *const identity[][3] = {
        {"cell", "", "cell id: experiment, then the values that set it apart"},
        {"hash", "", "content hash of the parameters: what a result is kept under"},
        {"status", "", "how it ended: ok, a failure, excluded or not_run"},
};
enum { IDENTITY_COUNT = 3 };

static void experiment(
        const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    text_add(out, o->cell->experiment);
}

// " opts window " without its outer blanks.
static void tags(const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    bool gap = false;
    for (const char *p = o->cell->tags ? o->cell->tags : ""; *p; p++) {
        if (*p == ' ') {
            gap = out->size > 0;
            continue;
        }
        text_add(out, gap ? " " : "");
        text_add_bytes(out, p, 1);
        gap = false;
    }
}

static void expect(const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    if (o->cell->expect >= 0) {
        text_add(out, status_name((enum status)o->cell->expect));
    }
}

static void stale(const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    text_add(out, o->stale ? o->stale : "");
}

static void cause(const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    text_add(out, o->cause ? o->cause : "");
}

static void remedy(const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    text_add(out, o->status == STATUS_OK ? "" : status_remedy(o->status));
}

static void note(const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    text_add(out, o->note ? o->note : "");
}

static void scaling(
        const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    text_add(out, o->scaling ? o->scaling : "");
}

static void scaling_base(
        const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    text_add(out, o->scaling_base ? o->scaling_base->cell->id : "");
}

static void missing(
        const struct tallies *all, const struct tally *o, struct text *out) {
    if (all->baseline_missing && tally_counts(o)) {
        text_addf(out, "speedup: %s", all->baseline_missing);
    }
    if (o->scaling_missing) {
        text_addf(out, "%sscaling_efficiency: %s", out->size ? "; " : "",
                o->scaling_missing);
    }
    if (o->mfu_missing) {
        text_addf(out, "%smfu: %s", out->size ? "; " : "", o->mfu_missing);
    }
}

static void phase(const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    if (o->last && o->status != STATUS_OK && o->last->record.phase) {
        text_add(out, o->last->record.phase);
    }
}

static void started(
        const struct tallies *all, const struct tally *o, struct text *out) {
    (void)all;
    if (o->last) {
        human_time(out, o->last->record.started_unix_ms);
    }
}

static double attempts(const struct tally *o) {
    return (double)o->result->attempt_count;
}

static double counted(const struct tally *o) {
    return o->last ? (double)o->counted : NAN;
}

static double ok_count(const struct tally *o) {
    return o->last ? (double)o->ok_count : NAN;
}

static double tps_min(const struct tally *o) {
    return o->tps_stats.count >= 2 ? o->tps_stats.minimum : NAN;
}

static double tps_max(const struct tally *o) {
    return o->tps_stats.count >= 2 ? o->tps_stats.maximum : NAN;
}

static double tps_spread(const struct tally *o) {
    return stats_spread_pct(&o->tps_stats);
}

static double peak_spread(const struct tally *o) {
    return stats_spread_pct(&o->peak_stats);
}

static double unless_negative(double x) {
    return x < 0 ? NAN : x;
}

static double guilty_rank(const struct tally *o) {
    return o->last ? unless_negative(o->last->record.guilty_rank) : NAN;
}

static double exit_code(const struct tally *o) {
    return o->last ? unless_negative(o->last->record.exit_code) : NAN;
}

static double signal_number(const struct tally *o) {
    return o->last && o->last->record.signal ? o->last->record.signal : NAN;
}

static double last_step(const struct tally *o) {
    return o->last ? unless_negative((double)o->last->record.last_step) : NAN;
}

static double bytes_asked(const struct tally *o) {
    return o->last ? unless_negative((double)o->last->record.bytes_asked) : NAN;
}

static double bytes_free(const struct tally *o) {
    return o->last ? unless_negative((double)o->last->record.bytes_free) : NAN;
}

static double leaked(const struct tally *o) {
    return o->last ? o->last->record.leaked : NAN;
}

static double wall_ms(const struct tally *o) {
    return o->last ? (double)o->last->record.wall_ms : NAN;
}

static double batch_of_a_rank(const struct tally *o) {
    bool searched = params_integer(&o->cell->params, PARAM_BATCH) < 0;
    return searched  ? tally_found_batch(o)
           : o->last ? fresh_provenance_number(&o->last->record, "batch")
                     : NAN;
}

static const struct column columns[] = {
        {"experiment", "", "the experiment that declares the cell", .text = experiment},
        {"tags", "", "its tags, parted by blanks", .text = tags},
        {"expect", "", "the status that the matrix expects", .text = expect},
        {"stale", "", "what differs from today: worker build, data, machine",
                .text = stale},
        {"cause", "", "why the cell is not ok", .text = cause},
        {"remedy", "", "what to do about it", .text = remedy},
        {"note", "", "repeats that ended otherwise, processes left behind",
                .text = note},
        {"missing", "", "why speed-up, scaling efficiency or MFU are empty",
                .text = missing},
        {"scaling", "", "weak (batch) or strong (global_batch)", .text = scaling},
        {"scaling_base", "", "the one-rank cell that efficiency is held against",
                .text = scaling_base},
        {"attempts", "", "attempts in the folder, whatever became of them",
                .number = attempts},
        {"attempts_counted", "", "attempts that this row sums up", .number = counted},
        {"attempts_ok", "", "of them, those that the medians are over",
                .number = ok_count},
        {"tokens_per_s_min", "tokens/s", "slowest repeat", .number = tps_min},
        {"tokens_per_s_max", "tokens/s", "fastest repeat", .number = tps_max},
        {"tokens_per_s_spread_pct", "%", "(max - min) / median over the repeats",
                .number = tps_spread},
        {"peak_bytes_spread_pct", "%", "(max - min) / median over the repeats",
                .number = peak_spread},
        {"guilty_rank", "", "the rank that failed first", .number = guilty_rank},
        {"phase", "", "the phase in which it failed", .text = phase},
        {"last_step", "", "the last step that was finished", .number = last_step},
        {"exit_code", "", "of the guilty rank", .number = exit_code},
        {"signal", "", "that ended the guilty rank", .number = signal_number},
        {"bytes_asked", "bytes", "of the allocation that was refused",
                .number = bytes_asked},
        {"bytes_free", "bytes", "at that moment", .number = bytes_free},
        {"leaked", "", "processes that outlived their rank and were killed",
                .number = leaked},
        {"started", "UTC", "when the attempt began", .text = started},
        {"wall_ms", "ms", "from start to end of the attempt, start-up included",
                .number = wall_ms},
        {"run_worker_build", "", "build-id of the worker",
                .provenance = "worker_build"},
        {"run_device", "", "device it ran on", .provenance = "device"},
        {"run_host", "", "host name", .provenance = "host"},
        {"run_cpu", "", "CPU model", .provenance = "cpu"},
        {"run_cores", "", "CPU cores", .provenance = "cores"},
        {"run_memory_bytes", "bytes", "host memory", .provenance = "memory_bytes"},
        {"run_gpus", "", "GPUs", .provenance = "gpus"},
        {"run_kernel", "", "operating system kernel", .provenance = "kernel"},
        {"run_data", "", "data that was read", .provenance = "data"},
        {"run_data_bytes", "bytes", "size of the data", .provenance = "data_bytes"},
        {"run_data_digest", "", "SHA-256 over the data", .provenance = "data_digest"},
        {"run_tokenizer", "", "tokenizer", .provenance = "tokenizer"},
        {"run_vocab", "", "its vocabulary", .provenance = "vocab"},
        {"run_train_tokens", "tokens", "in the training split",
                .provenance = "train_tokens"},
        {"run_val_tokens", "tokens", "in the validation split",
                .provenance = "val_tokens"},
        {"run_test_tokens", "tokens", "in the test split", .provenance = "test_tokens"},
        {"run_batch", "sequences",
                "per rank and micro-step; for batch max what was found and trained "
                "with",
                .number = batch_of_a_rank},
        {"run_gpu_numbers", "", "which GPUs of the machine the cell had, in PCI order",
                .provenance = "gpu_numbers"},
        {"run_device_memory_not_back_bytes", "bytes",
                "of its GPUs' memory, still held after the cell before it",
                .provenance = "device_memory_not_back_bytes"},
        {"run_throttle_reasons", "",
                "what held the GPU's clocks back while it was timed",
                .provenance = "throttle_reasons"},
        {"run_comm", "", "how the ranks reached each other", .provenance = "comm"},
        {"run_nccl_version", "", "version of NCCL", .provenance = "nccl_version"},
        {"run_nccl_path", "",
                "the way that the largest collective of each kind took in the first "
                "step, as NCCL logged it",
                .provenance = "nccl_path"},
        {"run_nccl_registered", "",
                "whether what travels lies in NCCL's windows, or why not",
                .provenance = "nccl_registered"},
        {"run_nccl_max_ctas", "",
                "most multiprocessors' places for a collective of engine native's "
                "ddp bucketed and sharded; empty where the environment says, and where "
                "collectives are waited for (ddp naive, flat, task allreduce): 32 by "
                "NCCL_SYM_CTAS",
                .provenance = "nccl_max_ctas"},
        {"run_nccl_environment", "", "NCCL_* variables that the worker came with",
                .provenance = "nccl_environment"},
        {"run_rank_cpus", "", "by rank, the CPUs near its GPU that it was held to",
                .provenance = "rank_cpus"},
};
enum { TAIL_COUNT = sizeof columns / sizeof *columns };

int columns_count(void) {
    return IDENTITY_COUNT + PARAM_COUNT + metric_count + TAIL_COUNT;
}

enum part { PART_IDENTITY, PART_PARAM, PART_METRIC, PART_TAIL };

// Which list a column comes from; `column` becomes its place in there.
static enum part locate(int *column) {
    const int sizes[] = {IDENTITY_COUNT, PARAM_COUNT, metric_count};
    for (int part = 0; part < PART_TAIL; part++) {
        if (*column < sizes[part]) {
            return (enum part)part;
        }
        *column -= sizes[part];
    }
    return PART_TAIL;
}

const char *columns_name(int column) {
    switch (locate(&column)) {
    case PART_IDENTITY:
        return identity[column][0];
    case PART_PARAM:
        return axes_get((enum param)column)->name;
    case PART_METRIC:
        return metrics[column].name;
    case PART_TAIL:
        break;
    }
    return columns[column].name;
}

const char *columns_unit(int column) {
    switch (locate(&column)) {
    case PART_IDENTITY:
        return identity[column][1];
    case PART_PARAM:
        return axes_get((enum param)column)->unit;
    case PART_METRIC:
        return metrics[column].unit;
    case PART_TAIL:
        break;
    }
    return columns[column].unit;
}

const char *columns_help(int column) {
    switch (locate(&column)) {
    case PART_IDENTITY:
        return identity[column][2];
    case PART_PARAM:
        return axes_get((enum param)column)->help;
    case PART_METRIC:
        return metrics[column].help;
    case PART_TAIL:
        break;
    }
    return columns[column].help;
}

static void add_tail_value(struct text *out, const struct tallies *all,
        const struct tally *o, const struct column *c) {
    if (c->number) {
        csv_add_number(out, false, c->number(o));
        return;
    }
    struct text value = {0};
    if (c->text) {
        c->text(all, o, &value);
    } else if (o->last) {
        fresh_provenance(&o->last->record, c->provenance, &value);
    }
    csv_add_field(out, false, text_get(&value));
    text_finish(&value);
}

static void add_row(
        struct text *out, const struct tallies *all, const struct tally *o) {
    csv_add_field(out, true, o->cell->id);
    csv_add_field(out, false, o->cell->hash);
    csv_add_field(out, false, status_name(o->status));
    struct text value = {0};
    for (int p = 0; p < PARAM_COUNT; p++) {
        text_clear(&value);
        // Where ranks share a batch, the other is a default that nobody trained with.
        if (p != PARAM_BATCH || !context_is_strong(&o->cell->params)) {
            params_show(&o->cell->params, (enum param)p, &value);
        }
        csv_add_field(out, false, text_get(&value));
    }
    text_finish(&value);
    for (int m = 0; m < metric_count; m++) {
        csv_add_number(out, false, o->metrics[m]);
    }
    for (int c = 0; c < TAIL_COUNT; c++) {
        add_tail_value(out, all, o, columns + c);
    }
    text_add(out, "\n");
}

void columns_add_csv(struct text *out, const struct tallies *o) {
    for (int c = 0; c < columns_count(); c++) {
        csv_add_field(out, c == 0, columns_name(c));
    }
    text_add(out, "\n");
    for (size_t i = 0; i < o->count; i++) {
        add_row(out, o, o->items + i);
    }
}
