#include "matrix/fields.h"

#include <string.h>

#include "matrix/status.h"

json_t *fields_parse(
        const char *name, const char *bytes, size_t size, struct text *err) {
    json_error_t error;
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        text_fail(err, "%s:%d:%d: found no whole JSON value (%s)", name, error.line,
                error.column, error.text);
        return NULL;
    }
    if (!json_is_object(root)) {
        text_fail(err, "%s: found no JSON object", name);
        json_decref(root);
        return NULL;
    }
    return root;
}

static const json_t *take(
        struct fields *f, const char *name, json_type type, const char *expected) {
    const json_t *value = json_object_get(f->object, name);
    if (value && json_typeof(value) == type) {
        return value;
    }
    if (!f->wrong) {
        f->wrong = name;
        f->expected = expected;
    }
    return NULL;
}

static void refuse(struct fields *f, const char *name, const char *expected) {
    if (!f->wrong) {
        f->wrong = name;
        f->expected = expected;
    }
}

const char *fields_text(struct fields *f, const char *name) {
    const json_t *value = take(f, name, JSON_STRING, "text");
    return value ? json_string_value(value) : "";
}

char *fields_copy(struct fields *f, const char *name) {
    return text_copy(fields_text(f, name));
}

void fields_hash(struct fields *f, const char *name, char out[13]) {
    const char *s = fields_text(f, name);
    if (strlen(s) != 12 || strspn(s, "0123456789abcdef") != 12) {
        refuse(f, name, "hash");
        s = "000000000000";
    }
    memcpy(out, s, 13);
}

int64_t fields_integer(
        struct fields *f, const char *name, int64_t minimum, int64_t maximum) {
    const json_t *value = take(f, name, JSON_INTEGER, "integer");
    int64_t x = value ? json_integer_value(value) : minimum;
    if (x < minimum || x > maximum) {
        refuse(f, name, "integer in range");
        x = minimum;
    }
    return x;
}

bool fields_boolean(struct fields *f, const char *name) {
    const json_t *value = json_object_get(f->object, name);
    if (!json_is_boolean(value)) {
        refuse(f, name, "boolean");
    }
    return json_is_true(value);
}

int fields_status(struct fields *f, const char *name) {
    const json_t *value = json_object_get(f->object, name);
    if (json_is_null(value)) {
        return -1;
    }
    enum status status = STATUS_OK;
    if (!json_is_string(value) || !status_parse(json_string_value(value), &status)) {
        refuse(f, name, "status");
    }
    return (int)status;
}

const json_t *fields_object(struct fields *f, const char *name) {
    return take(f, name, JSON_OBJECT, "object");
}

const json_t *fields_array(struct fields *f, const char *name) {
    return take(f, name, JSON_ARRAY, "list");
}

bool fields_end(const struct fields *f, const char *name, struct text *err) {
    return !f->wrong ||
           text_fail(err, "%s: found no valid '%s', expected %s %s", name, f->wrong,
                   strchr("aio", *f->expected) ? "an" : "a", f->expected);
}

json_t *fields_string(const char *s) {
    if (!s) {
        return json_string("");
    }
    json_t *string = json_string(s);
    if (!string) {
        struct text clean = {0};
        text_add_utf8(&clean, s, strlen(s));
        string = json_string(text_get(&clean));
        text_finish(&clean);
    }
    return string;
}

json_t *fields_status_json(int status) {
    return status < 0 ? json_null() : json_string(status_name((enum status)status));
}
