#include "matrix/spec.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>

#include "matrix/event.h"
#include "matrix/fields.h"
#include "matrix/file.h"

#define SPEC_FORMAT 1
#define SPEC_MAX_BYTES (1 << 20)

void spec_finish(struct spec *s) {
    free(s->matrix);
    free(s->cell);
    for (char **w = s->worker; w && *w; w++) {
        free(*w);
    }
    free(s->worker);
    free(s->profiler);
    *s = (struct spec){0};
}

static void read_worker(struct spec *s, struct fields *f) {
    const json_t *words = fields_array(f, "worker");
    size_t count = json_array_size(words);
    s->worker = text_allocate_zeroed(count + 1, sizeof *s->worker);
    for (size_t i = 0; i < count; i++) {
        const char *word = json_string_value(json_array_get(words, i));
        if (!word) {
            f->wrong = "worker";
            f->expected = "list of texts";
            return;
        }
        s->worker[i] = text_copy(word);
    }
}

static bool check_formats(struct fields *f, const char *name, struct text *err) {
    int64_t format = fields_integer(f, "format", 0, INT_MAX);
    int64_t protocol = fields_integer(f, "protocol", 0, INT_MAX);
    if (!fields_end(f, name, err)) {
        return false;
    }
    if (format != SPEC_FORMAT) {
        return text_fail(err, "%s: found format %d, expected %d", name, (int)format,
                SPEC_FORMAT);
    }
    return protocol == EVENT_PROTOCOL ||
           text_fail(err, "%s: found protocol %d, expected %d", name, (int)protocol,
                   EVENT_PROTOCOL);
}

bool spec_parse(const char *name, const char *bytes, size_t size, struct spec *s,
        struct text *err) {
    *s = (struct spec){0};
    json_t *root = fields_parse(name, bytes, size, err);
    if (!root) {
        return false;
    }
    struct fields f = {.object = root};
    bool ok = check_formats(&f, name, err);
    if (ok) {
        s->matrix = fields_copy(&f, "matrix");
        s->cell = fields_copy(&f, "cell");
        fields_hash(&f, "hash", s->hash);
        s->attempt = (int)fields_integer(&f, "attempt", 1, INT_MAX);
        s->expect = fields_status(&f, "expect");
        read_worker(s, &f);
        if (json_object_get(root, "profiler")) {
            s->profiler = fields_copy(&f, "profiler");
        }
        if (json_object_get(root, "batch_most")) {
            s->batch_most = fields_integer(&f, "batch_most", 1, INT_MAX);
        }
        struct text wrong = {0};
        ok = fields_end(&f, name, err);
        if (ok && !params_from_json(&s->params, fields_object(&f, "params"), &wrong)) {
            ok = text_fail(err, "%s: %s", name, text_get(&wrong));
        }
        text_finish(&wrong);
    }
    json_decref(root);
    if (!ok) {
        spec_finish(s);
    }
    return ok;
}

bool spec_read(const char *path, struct spec *s, struct text *err) {
    *s = (struct spec){0};
    struct text bytes = {0};
    bool ok = file_read(path, SPEC_MAX_BYTES, &bytes, err) &&
              spec_parse(path, text_get(&bytes), bytes.size, s, err);
    text_finish(&bytes);
    return ok;
}

json_t *spec_to_json(const struct spec *s) {
    json_t *words = json_array();
    for (char **w = s->worker; w && *w; w++) {
        json_array_append_new(words, fields_string(*w));
    }
    json_t *root = json_pack("{s:i, s:i, s:o, s:o, s:s, s:i, s:o, s:o, s:o}", "format",
            SPEC_FORMAT, "protocol", EVENT_PROTOCOL, "matrix", fields_string(s->matrix),
            "cell", fields_string(s->cell), "hash", s->hash, "attempt", s->attempt,
            "expect", fields_status_json(s->expect), "worker", words, "params",
            params_to_json(&s->params, false));
    if (s->profiler && *s->profiler) {
        json_object_set_new(root, "profiler", fields_string(s->profiler));
    }
    if (s->batch_most) {
        json_object_set_new(root, "batch_most", json_integer(s->batch_most));
    }
    return root;
}

bool spec_write(const char *path, const struct spec *s, struct text *err) {
    json_t *root = spec_to_json(s);
    char *bytes = json_dumps(root, JSON_INDENT(1));
    struct text whole = {0};
    text_addf(&whole, "%s\n", bytes);
    bool ok = file_write_quick(path, whole.data, whole.size, err);
    text_finish(&whole);
    free(bytes);
    json_decref(root);
    return ok;
}
