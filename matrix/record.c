#include "matrix/record.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/fields.h"
#include "matrix/file.h"

#define RECORD_FORMAT 1
#define RECORD_MAX_BYTES (16 << 20)
#define RECORD_MAX_RANKS 65536

void record_finish(struct record *r) {
    free(r->matrix);
    free(r->cell);
    free(r->phase);
    free(r->error);
    free(r->stderr_tail);
    free(r->profiler);
    free(r->profile);
    json_decref(r->ops);
    json_decref(r->allreduce);
    for (int i = 0; i < r->rank_count; i++) {
        free(r->ranks[i].phase);
    }
    free(r->ranks);
    json_decref(r->metrics);
    json_decref(r->memory);
    json_decref(r->provenance);
    *r = (struct record){0};
}

static bool read_rank(struct record_rank *rank, const json_t *object, const char *name,
        struct text *err) {
    if (!json_is_object(object)) {
        return text_fail(err, "%s: found a rank that is no object", name);
    }
    struct fields f = {.object = object};
    rank->rank = (int)fields_integer(&f, "rank", 0, RECORD_MAX_RANKS);
    rank->pid = fields_integer(&f, "pid", 0, INT64_MAX);
    rank->exit_code = (int)fields_integer(&f, "exit_code", -1, 255);
    rank->signal = (int)fields_integer(&f, "signal", 0, 255);
    rank->collateral = fields_boolean(&f, "collateral");
    rank->phase = fields_copy(&f, "phase");
    rank->last_step = fields_integer(&f, "last_step", -1, INT64_MAX);
    rank->max_rss_bytes = fields_integer(&f, "max_rss_bytes", 0, INT64_MAX);
    rank->user_ms = fields_integer(&f, "user_ms", 0, INT64_MAX);
    rank->system_ms = fields_integer(&f, "system_ms", 0, INT64_MAX);
    return fields_end(&f, name, err);
}

static bool read_ranks(
        struct record *r, const json_t *list, const char *name, struct text *err) {
    size_t count = json_array_size(list);
    if (count > RECORD_MAX_RANKS) {
        return text_fail(err, "%s: found %zu ranks, expected at most %d", name, count,
                RECORD_MAX_RANKS);
    }
    r->ranks = text_allocate_zeroed(count, sizeof *r->ranks);
    for (size_t i = 0; i < count; i++) {
        r->rank_count = (int)i + 1;
        if (!read_rank(&r->ranks[i], json_array_get(list, i), name, err)) {
            return false;
        }
    }
    return true;
}

/* What not every attempt has, and records of earlier versions lack. */
static void read_optional(struct record *r, struct fields *f) {
    bool profiled = json_object_get(f->object, "profiler") != NULL;
    r->profiler = profiled ? fields_copy(f, "profiler") : text_copy("");
    r->profile = profiled ? fields_copy(f, "profile") : text_copy("");
    if (json_object_get(f->object, "ops")) {
        r->ops = json_incref((json_t *)fields_object(f, "ops"));
    }
    if (json_object_get(f->object, "allreduce")) {
        r->allreduce = json_incref((json_t *)fields_array(f, "allreduce"));
    }
}

/* Everything but ranks and parameters. */
static void read_fields(struct record *r, struct fields *f) {
    r->matrix = fields_copy(f, "matrix");
    r->cell = fields_copy(f, "cell");
    fields_hash(f, "hash", r->hash);
    r->attempt = (int)fields_integer(f, "attempt", 1, INT_MAX);
    int status = fields_status(f, "status");
    if (!f->wrong && (status < 0 || status >= STATUS_EXCLUDED)) {
        f->wrong = "status";
        f->expected = "status of an attempt";
    }
    r->status = status < 0 ? STATUS_LOST : (enum status)status;
    r->expect = fields_status(f, "expect");
    r->started_unix_ms = fields_integer(f, "started_unix_ms", 0, INT64_MAX);
    r->ended_unix_ms = fields_integer(f, "ended_unix_ms", 0, INT64_MAX);
    r->wall_ms = fields_integer(f, "wall_ms", 0, INT64_MAX);
    r->guilty_rank = (int)fields_integer(f, "guilty_rank", -1, RECORD_MAX_RANKS);
    r->exit_code = (int)fields_integer(f, "exit_code", -1, 255);
    r->signal = (int)fields_integer(f, "signal", 0, 255);
    r->phase = fields_copy(f, "phase");
    r->last_step = fields_integer(f, "last_step", -1, INT64_MAX);
    r->error = fields_copy(f, "error");
    r->bytes_asked = fields_integer(f, "bytes_asked", -1, INT64_MAX);
    r->bytes_free = fields_integer(f, "bytes_free", -1, INT64_MAX);
    r->predicted = fields_boolean(f, "predicted");
    r->stderr_tail = fields_copy(f, "stderr_tail");
    r->leaked = (int)fields_integer(f, "leaked", 0, INT_MAX);
    r->metrics = json_incref((json_t *)fields_object(f, "metrics"));
    r->memory = json_incref((json_t *)fields_array(f, "memory"));
    r->provenance = json_incref((json_t *)fields_object(f, "provenance"));
    read_optional(r, f);
}

/* Metrics are numbers or null: readers may then use them without asking again. */
static bool check_metrics(const struct record *r, const char *name, struct text *err) {
    const char *metric;
    json_t *value;
    json_object_foreach(r->metrics, metric, value) {
        if (!json_is_number(value) && !json_is_null(value)) {
            return text_fail(
                    err, "%s: found metric '%s' that is no number", name, metric);
        }
    }
    return true;
}

static bool read_root(
        struct record *r, const json_t *root, const char *name, struct text *err) {
    struct fields f = {.object = root};
    int64_t format = fields_integer(&f, "format", 0, INT_MAX);
    if (!f.wrong && format != RECORD_FORMAT) {
        return text_fail(err, "%s: found format %d, expected %d", name, (int)format,
                RECORD_FORMAT);
    }
    read_fields(r, &f);
    const json_t *ranks = fields_array(&f, "ranks");
    const json_t *params = fields_object(&f, "params");
    if (!fields_end(&f, name, err) || !check_metrics(r, name, err) ||
            !read_ranks(r, ranks, name, err)) {
        return false;
    }
    struct text wrong = {0};
    bool ok = params_from_json(&r->params, params, &wrong) ||
              text_fail(err, "%s: %s", name, text_get(&wrong));
    text_finish(&wrong);
    return ok;
}

bool record_parse(const char *name, const char *bytes, size_t size, struct record *r,
        struct text *err) {
    *r = (struct record){0};
    json_t *root = fields_parse(name, bytes, size, err);
    if (!root) {
        return false;
    }
    bool ok = read_root(r, root, name, err);
    json_decref(root);
    if (!ok) {
        record_finish(r);
    }
    return ok;
}

bool record_read(const char *path, struct record *r, struct text *err) {
    *r = (struct record){0};
    struct text bytes = {0};
    bool ok = file_read(path, RECORD_MAX_BYTES, &bytes, err) &&
              record_parse(path, text_get(&bytes), bytes.size, r, err);
    text_finish(&bytes);
    return ok;
}

static json_t *rank_to_json(const struct record_rank *rank) {
    return json_pack("{s:i, s:I, s:i, s:i, s:b, s:o, s:I, s:I, s:I, s:I}", "rank",
            rank->rank, "pid", (json_int_t)rank->pid, "exit_code", rank->exit_code,
            "signal", rank->signal, "collateral", rank->collateral, "phase",
            fields_string(rank->phase), "last_step", (json_int_t)rank->last_step,
            "max_rss_bytes", (json_int_t)rank->max_rss_bytes, "user_ms",
            (json_int_t)rank->user_ms, "system_ms", (json_int_t)rank->system_ms);
}

/* `own` by reference, or a new empty value where it is NULL. */
static json_t *or_empty(json_t *own, json_t *empty) {
    if (!own) {
        return empty;
    }
    json_decref(empty);
    return json_incref(own);
}

json_t *record_to_json(const struct record *r) {
    json_t *ranks = json_array();
    for (int i = 0; i < r->rank_count; i++) {
        json_array_append_new(ranks, rank_to_json(&r->ranks[i]));
    }
    json_t *root = json_pack("{s:i, s:o, s:o, s:s, s:i, s:o, s:o, s:I, s:I, s:I}",
            "format", RECORD_FORMAT, "matrix", fields_string(r->matrix), "cell",
            fields_string(r->cell), "hash", r->hash, "attempt", r->attempt, "status",
            fields_status_json((int)r->status), "expect", fields_status_json(r->expect),
            "started_unix_ms", (json_int_t)r->started_unix_ms, "ended_unix_ms",
            (json_int_t)r->ended_unix_ms, "wall_ms", (json_int_t)r->wall_ms);
    json_t *cause = json_pack("{s:i, s:i, s:i, s:o, s:I, s:o, s:I, s:I, s:b, s:o, s:i}",
            "guilty_rank", r->guilty_rank, "exit_code", r->exit_code, "signal",
            r->signal, "phase", fields_string(r->phase), "last_step",
            (json_int_t)r->last_step, "error", fields_string(r->error), "bytes_asked",
            (json_int_t)r->bytes_asked, "bytes_free", (json_int_t)r->bytes_free,
            "predicted", r->predicted, "stderr_tail", fields_string(r->stderr_tail),
            "leaked", r->leaked);
    json_t *rest = json_pack("{s:o, s:o, s:o, s:o, s:o}", "ranks", ranks, "metrics",
            or_empty(r->metrics, json_object()), "memory",
            or_empty(r->memory, json_array()), "provenance",
            or_empty(r->provenance, json_object()), "params",
            params_to_json(&r->params, false));
    if (r->profiler && *r->profiler) {
        json_object_set_new(root, "profiler", fields_string(r->profiler));
        json_object_set_new(root, "profile", fields_string(r->profile));
    }
    if (r->ops) {
        json_object_set(root, "ops", r->ops);
    }
    if (r->allreduce) {
        json_object_set(root, "allreduce", r->allreduce);
    }
    json_object_update(root, cause);
    json_object_update(root, rest);
    json_decref(cause);
    json_decref(rest);
    return root;
}

bool record_write(const char *path, const struct record *r, struct text *err) {
    json_t *root = record_to_json(r);
    char *bytes = json_dumps(root, JSON_INDENT(1));
    struct text whole = {0};
    text_addf(&whole, "%s\n", bytes);
    bool ok = file_write(path, whole.data, whole.size, err);
    text_finish(&whole);
    free(bytes);
    json_decref(root);
    return ok;
}

bool record_lacks_engine(const struct record *r) {
    static const char none[] = " torch-none"; // how a peer's build ends without
    const char *build =
            json_string_value(json_object_get(r->provenance, "worker_build"));
    size_t size = build ? strlen(build) : 0;
    return size >= sizeof none - 1 && !strcmp(build + size - (sizeof none - 1), none);
}

double record_metric(const struct record *r, const char *name) {
    const json_t *value = json_object_get(r->metrics, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}
