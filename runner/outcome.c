#include "runner/outcome.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/build.h"
#include "runner/merge.h"
#include "runner/profile.h"

#define TAIL_BYTES 8192
#define TAIL_LINES 20

/* Length of the valid UTF-8 sequence at `s`, 0 where there is none. */
static size_t sequence(const unsigned char *s, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80       ? 1
               : s[0] >> 5 == 6  ? 2
               : s[0] >> 4 == 14 ? 3
               : s[0] >> 3 == 30 ? 4
                                 : 0;
    if (n <= 1 || n > left) {
        return n == 1 ? 1 : 0;
    }
    uint32_t code = s[0] & (0x7FU >> n);
    for (size_t i = 1; i < n; i++) {
        if (s[i] >> 6 != 2) {
            return 0;
        }
        code = code << 6 | (s[i] & 0x3FU);
    }
    bool surrogate = code >= 0xD800 && code < 0xE000;
    return code < least[n] || code > 0x10FFFF || surrogate ? 0 : n;
}

/* What JSON can hold: bytes that are not UTF-8, or are control bytes, become '?'. */
static char *clean(const char *bytes, size_t size) {
    struct text t = {0};
    for (size_t i = 0; i < size;) {
        const unsigned char *s = (const unsigned char *)bytes + i;
        size_t n = sequence(s, size - i);
        bool plain = n && (*s >= 0x20 || *s == '\n' || *s == '\t') && *s != 0x7F;
        text_add_bytes(&t, plain ? (const char *)s : "?", plain ? n : 1);
        i += n ? n : 1;
    }
    return text_take(&t);
}

static char *stderr_tail(const char *folder, int rank) {
    struct text path = {0};
    text_addf(&path, "%s/rank%d.stderr", folder, rank);
    int fd = open(text_get(&path), O_RDONLY | O_CLOEXEC);
    text_finish(&path);
    if (fd < 0) {
        return text_copy("");
    }
    char bytes[TAIL_BYTES];
    struct stat st;
    off_t from = 0;
    if (fstat(fd, &st) == 0 && st.st_size > TAIL_BYTES) {
        from = st.st_size - TAIL_BYTES;
    }
    ssize_t n = pread(fd, bytes, sizeof bytes, from);
    close(fd);
    size_t size = n > 0 ? (size_t)n : 0, begin = size;
    int lines = 0;
    while (begin > 0) {
        // The newline that ends the last line starts no line.
        if (bytes[begin - 1] == '\n' && begin != size && ++lines == TAIL_LINES) {
            break;
        }
        begin--;
    }
    return clean(bytes + begin, size - begin);
}

static char *or_empty(const char *s) {
    return clean(s ? s : "", s ? strlen(s) : 0);
}

static void set_text(json_t *o, const char *key, const char *value) {
    char *safe = or_empty(value);
    json_object_set_new(o, key, json_string(safe));
    free(safe);
}

static json_t *nondefault(const struct params *p) {
    json_t *o = json_object();
    struct text t = {0};
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (!params_is_default(p, (enum param)i)) {
            text_clear(&t);
            params_show(p, (enum param)i, &t);
            set_text(o, axes_get((enum param)i)->name, text_get(&t));
        }
    }
    text_finish(&t);
    return o;
}

static void add_gpus(const struct launch_gpus *gpus, json_t *provenance) {
    json_t *numbers = json_array();
    char *copy = text_copy(gpus->numbers ? gpus->numbers : ""), *rest = copy, *word;
    while ((word = strsep(&rest, ",")) && *word) {
        json_array_append_new(numbers, json_integer(strtoll(word, NULL, 10)));
    }
    free(copy);
    json_object_set_new(provenance, "gpu_numbers", numbers);
    if (gpus->missing_bytes > 0) {
        json_object_set_new(provenance, "device_memory_not_back_bytes",
                json_integer(gpus->missing_bytes));
    }
}

/* By rank, the CPUs that each was held to; nothing where none was. */
static void add_cpus(const struct outcome *o, json_t *provenance) {
    json_t *all = json_array();
    for (int i = 0; i < o->count && o->ranks[i].cpus; i++) {
        json_array_append_new(all, json_string(o->ranks[i].cpus));
    }
    if (json_array_size(all) > 0) {
        json_object_set(provenance, "rank_cpus", all);
    }
    json_decref(all);
}

static json_t *provenance(const struct outcome *o) {
    json_t *p = json_object();
    struct text t = {0}, ignored = {0};
    for (char **w = o->spec->worker; w && *w; w++) {
        text_addf(&t, "%s%s", t.size ? " " : "", *w);
    }
    set_text(p, "worker", text_get(&t));
    text_clear(&t);
    if (o->spec->worker && o->spec->worker[0]) {
        build_identify(o->spec->worker, &t, &ignored);
    }
    set_text(p, "worker_build", text_get(&t));
    text_clear(&t);
    build_digest_data(params_text(&o->spec->params, PARAM_DATA), &t, &ignored);
    set_text(p, "data_files_digest", text_get(&t));
    set_text(p, "machine", o->machine->name);
    set_text(p, "host", o->machine->host);
    set_text(p, "boot_id", o->machine->boot_id);
    set_text(p, "cpu", o->machine->cpu);
    set_text(p, "kernel", o->machine->kernel);
    json_object_set_new(p, "cores", json_integer(o->machine->cores));
    json_object_set_new(p, "memory_bytes", json_integer(o->machine->memory_bytes));
    json_t *gpus = json_array();
    for (int i = 0; i < o->machine->gpu_count; i++) {
        json_array_append_new(gpus, json_string(o->machine->gpus[i]));
    }
    json_object_set_new(p, "gpus", gpus);
    set_text(p, "memory_limit_by", o->limits);
    json_object_set_new(p, "nondefault", nondefault(&o->spec->params));
    json_t *env = json_loads(params_text(&o->spec->params, PARAM_ENV), 0, NULL);
    json_object_set_new(p, "env", env ? env : json_object());
    if (o->gpus) {
        add_gpus(o->gpus, p);
    }
    add_cpus(o, p);
    if (o->search) {
        json_t *found = json_object_get(o->search, "batch");
        json_object_set_new(p, "batch_search", json_deep_copy(o->search));
        if (found) {
            json_object_set(p, "batch", found);
        }
    }
    merge_facts(o->ranks, o->count, p);
    text_finish(&t);
    text_finish(&ignored);
    return p;
}

static void fill_rank(const struct rank *r, struct record_rank *out) {
    *out = (struct record_rank){
            .rank = r->number,
            .pid = r->pid,
            .exit_code = r->end.exit_code,
            .signal = r->end.signal,
            .collateral = r->killed,
            .phase = or_empty(r->phase),
            .last_step = r->last_step,
            .max_rss_bytes = r->end.max_rss_bytes,
            .user_ms = r->end.user_ms,
            .system_ms = r->end.system_ms,
    };
}

/* What the supervisor itself has seen stands in for what no rank has told. */
static void add_witnessed(const struct outcome *o, json_t *metrics) {
    int64_t startup_ms = -1, rss = 0;
    for (int i = 0; i < o->count; i++) {
        const struct rank *r = &o->ranks[i];
        if (r->first_step_ms >= 0 && r->first_step_ms - o->began_ms > startup_ms) {
            startup_ms = r->first_step_ms - o->began_ms;
        }
        if (r->end.max_rss_bytes > rss) {
            rss = r->end.max_rss_bytes;
        }
    }
    if (startup_ms >= 0 && !json_object_get(metrics, "startup_ms")) {
        json_object_set_new(metrics, "startup_ms", json_integer(startup_ms));
    }
    if (rss > 0 && !json_object_get(metrics, "witness_bytes")) {
        json_object_set_new(metrics, "witness_bytes", json_integer(rss));
    }
}

static char *profile_files(const struct outcome *o) {
    struct text t = {0};
    if (*profile_name(o->spec->profiler)) {
        profile_list(o->folder, &t);
    }
    return text_take(&t);
}

void outcome_record(const struct outcome *o, struct record *r) {
    const struct rank *guilty = o->verdict->guilty >= 0 && o->verdict->guilty < o->count
                                        ? &o->ranks[o->verdict->guilty]
                                        : NULL;
    const struct rank *shown = guilty ? guilty : o->count ? &o->ranks[0] : NULL;
    *r = (struct record){
            .matrix = text_copy(o->spec->matrix),
            .cell = text_copy(o->spec->cell),
            .attempt = o->spec->attempt,
            .status = o->verdict->status,
            .expect = o->spec->expect,
            .params = o->spec->params,
            .started_unix_ms = o->started_unix_ms,
            .ended_unix_ms = machine_unix_ms(),
            .wall_ms = o->ended_ms - o->began_ms,
            .guilty_rank = o->verdict->guilty,
            .exit_code = guilty ? guilty->end.exit_code : -1,
            .signal = guilty ? guilty->end.signal : 0,
            .phase = or_empty(guilty && guilty->error_phase && *guilty->error_phase
                                      ? guilty->error_phase
                              : shown ? shown->phase
                                      : ""),
            .last_step = shown ? shown->last_step : -1,
            .error = or_empty(o->verdict->error),
            .bytes_asked = guilty ? guilty->bytes_asked : -1,
            .bytes_free = guilty ? guilty->bytes_free : -1,
            .predicted = guilty && guilty->predicted,
            .stderr_tail = o->verdict->status == STATUS_OK || !shown
                                   ? text_copy("")
                                   : stderr_tail(o->folder, shown->number),
            .leaked = o->leaked,
            .profiler = or_empty(profile_name(o->spec->profiler)),
            .profile = profile_files(o),
            .ops = o->count ? json_incref(o->ranks[0].ops) : NULL,
            .allreduce = o->count ? json_incref(o->ranks[0].allreduce) : NULL,
            .rank_count = o->count,
    };
    memcpy(r->hash, o->spec->hash, sizeof r->hash);
    r->ranks = text_allocate_zeroed((size_t)o->count + 1, sizeof *r->ranks);
    for (int i = 0; i < o->count; i++) {
        fill_rank(&o->ranks[i], &r->ranks[i]);
        // What hangs is killed, too, but not for another.
        r->ranks[i].collateral &= r->ranks[i].rank != r->guilty_rank;
    }
    r->metrics = merge_metrics(o->ranks, o->count);
    add_witnessed(o, r->metrics);
    r->memory = merge_memory(o->ranks, o->count);
    r->provenance = provenance(o);
}

bool outcome_write_plain(const char *folder, const struct spec *spec,
        const struct machine *machine, enum status status, const char *sentence,
        int64_t started_unix_ms, struct text *err) {
    struct verdict v = {.status = status, .guilty = -1, .error = text_copy(sentence)};
    struct outcome o = {
            .folder = folder,
            .spec = spec,
            .machine = machine,
            .verdict = &v,
            .started_unix_ms = started_unix_ms,
            .limits = "",
    };
    struct record r = {0};
    outcome_record(&o, &r);
    struct text path = {0};
    text_addf(&path, "%s/record.json", folder);
    bool ok = record_write(text_get(&path), &r, err);
    text_finish(&path);
    record_finish(&r);
    verdict_finish(&v);
    return ok;
}
