#include "matrix/owner.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/file.h"

#define OWNER_FORMAT 1
#define OWNER_BYTES_MAX 65536

void owner_finish(struct owner *o) {
    free(o->host);
    free(o->boot_id);
    free(o->cgroup);
    *o = (struct owner){0};
}

static bool take_process(json_t *root, const char *key, struct owner_process *out) {
    json_t *p = json_object_get(root, key);
    if (!p || json_is_null(p)) {
        return true;
    }
    json_t *pid = json_object_get(p, "pid"), *ticks = json_object_get(p, "start_ticks");
    if (!json_is_integer(pid) || !json_is_integer(ticks)) {
        return false;
    }
    out->pid = json_integer_value(pid);
    out->start_ticks = json_integer_value(ticks);
    return true;
}

static bool take(json_t *root, struct owner *o) {
    const char *host = json_string_value(json_object_get(root, "host"));
    const char *boot = json_string_value(json_object_get(root, "boot_id"));
    const char *nonce = json_string_value(json_object_get(root, "nonce"));
    const char *cgroup = json_string_value(json_object_get(root, "cgroup"));
    if (json_integer_value(json_object_get(root, "format")) != OWNER_FORMAT || !host ||
            !boot || !nonce || strlen(nonce) > OWNER_NONCE_MAX) {
        return false;
    }
    if (!take_process(root, "runner", &o->runner) ||
            !take_process(root, "supervisor", &o->supervisor)) {
        return false;
    }
    o->host = text_copy(host);
    o->boot_id = text_copy(boot);
    o->cgroup = cgroup ? text_copy(cgroup) : NULL;
    memcpy(o->nonce, nonce, strlen(nonce) + 1);
    o->started_unix_ms = json_integer_value(json_object_get(root, "started_unix_ms"));
    return true;
}

bool owner_read(const char *path, struct owner *o, struct text *err) {
    struct text bytes = {0};
    *o = (struct owner){0};
    if (!file_read(path, OWNER_BYTES_MAX, &bytes, err)) {
        return false;
    }
    json_error_t why;
    json_t *root =
            json_loadb(text_get(&bytes), bytes.size, JSON_REJECT_DUPLICATES, &why);
    bool ok = json_is_object(root) && take(root, o);
    if (!ok) {
        owner_finish(o);
        text_fail(err, "cannot read '%s': not an owner file of format %d", path,
                OWNER_FORMAT);
    }
    json_decref(root);
    text_finish(&bytes);
    return ok;
}

static json_t *process_json(const struct owner_process *p) {
    if (p->pid == 0) {
        return json_null();
    }
    return json_pack("{s:I, s:I}", "pid", (json_int_t)p->pid, "start_ticks",
            (json_int_t)p->start_ticks);
}

bool owner_write(const char *path, const struct owner *o, struct text *err) {
    json_t *root = json_pack("{s:i, s:s, s:s, s:s, s:s?, s:I, s:o, s:o}", "format",
            OWNER_FORMAT, "host", o->host, "boot_id", o->boot_id, "nonce", o->nonce,
            "cgroup", o->cgroup, "started_unix_ms", (json_int_t)o->started_unix_ms,
            "runner", process_json(&o->runner), "supervisor",
            process_json(&o->supervisor));
    char *bytes = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!bytes) {
        return text_fail(err, "cannot write '%s': a name in it is not UTF-8", path);
    }
    bool ok = file_write_quick(path, bytes, strlen(bytes), err);
    free(bytes);
    return ok;
}
