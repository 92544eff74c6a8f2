#include "tests/helpers/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "matrix/file.h"
#include "reports/report.h"

void scene_open(struct scene *s, const char *baseline) {
    folder_init(&s->folder, "demo", "Which attention kernel and wrapper train fastest?",
            baseline);
    s->path = folder_temporary();
}

void scene_done(bool ok, struct text *err) {
    if (!ok) {
        fail_msg("%s", text_get(err));
    }
    assert_string_equal(text_get(err), "");
    text_finish(err);
}

void scene_report(struct scene *s) {
    struct text err = {0};
    folder_seal(&s->folder);
    scene_done(folder_write(&s->folder, s->path, &err), &err);
    scene_done(report_write(s->path, NULL, &err), &err);
}

void scene_close(struct scene *s) {
    folder_finish(&s->folder);
    folder_remove(s->path);
    free(s->path);
}

char *scene_read(const struct scene *s, const char *name) {
    struct text path = {0};
    struct text bytes = {0};
    struct text err = {0};
    text_addf(&path, "%s/%s", s->path, name);
    scene_done(file_read(text_get(&path), 1 << 26, &bytes, &err), &err);
    text_finish(&path);
    return text_take(&bytes);
}

bool scene_has(const struct scene *s, const char *name) {
    struct text path = {0};
    text_addf(&path, "%s/%s", s->path, name);
    bool found = access(text_get(&path), F_OK) == 0;
    text_finish(&path);
    return found;
}

void scene_says(const struct scene *s, const char *name, const char *words) {
    char *text = scene_read(s, name);
    if (!strstr(text, words)) {
        fail_msg("%s does not say '%s':\n%s", name, words, text);
    }
    free(text);
}

void scene_is_silent(const struct scene *s, const char *name, const char *words) {
    char *text = scene_read(s, name);
    if (strstr(text, words)) {
        fail_msg("%s says '%s':\n%s", name, words, text);
    }
    free(text);
}

// Fields of one CSV record; `*at` moves past it. -1 at the end, fails on bad quoting.
static int count_fields(const char **at) {
    const char *p = *at;
    if (!*p) {
        return -1;
    }
    int fields = 1;
    while (*p && *p != '\n') {
        if (*p == '"') {
            for (p++; *p != '"' || p[1] == '"'; p++) {
                assert_true(*p);
                p += *p == '"';
            }
            p++;
            assert_true(*p == ',' || *p == '\n');
        } else if (*p == ',') {
            fields++;
            p++;
        } else {
            p++;
        }
    }
    assert_int_equal(*p, '\n');
    *at = p + 1;
    return fields;
}

int scene_check_csv(const struct scene *s, const char *name) {
    char *text = scene_read(s, name);
    const char *at = text;
    int width = count_fields(&at);
    int rows = 0;
    for (int fields; (fields = count_fields(&at)) != -1; rows++) {
        assert_int_equal(fields, width);
    }
    static const char *const never[] = {"nan", "NaN", ",inf", ",-inf"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        if (strstr(text, never[i])) {
            fail_msg("%s holds '%s'", name, never[i]);
        }
    }
    free(text);
    return rows;
}

void scene_golden(const char *golden, const char *found) {
    struct text expected = {0};
    struct text err = {0};
    const char *mode = getenv("LM_GOLDEN");
    if (mode && strcmp(mode, "write") == 0) {
        scene_done(file_write_quick(golden, found, strlen(found), &err), &err);
    }
    scene_done(file_read(golden, 1 << 24, &expected, &err), &err);
    assert_string_equal(found, text_get(&expected));
    text_finish(&expected);
}
