#include "runner/spawn.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runner/placement.h"
#include "runner/profile.h"

struct variables {
    char **items;
    size_t count;
};

static void variable(struct variables *v, const char *name, const char *value) {
    struct text t = {0};
    text_addf(&t, "%s=%s", name, value);
    v->items = text_reallocate(v->items, (v->count + 2) * sizeof *v->items);
    v->items[v->count++] = text_take(&t);
    v->items[v->count] = NULL;
}

static void variable_number(struct variables *v, const char *name, int value) {
    char number[16];
    snprintf(number, sizeof number, "%d", value);
    variable(v, name, number);
}

static char **rank_environment(const struct spawn *s, const struct rank *r) {
    struct variables v = {0};
    // Ours come first: of two equal names getenv() finds the first.
    variable_number(&v, "LM_EVENT_FD", r->write_fd);
    variable_number(&v, "LM_RANK", r->number);
    variable_number(&v, "LM_WORLD", s->world);
    variable_number(&v, "LM_LOCAL_RANK", r->number);
    variable(&v, "LM_NONCE", s->nonce);
    if (s->shm_fd >= 0) {
        variable_number(&v, "LM_SHM_FD", s->shm_fd);
    }
    json_t *env = json_loads(params_text(&s->spec->params, PARAM_ENV), 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(env, key, value) {
        if (json_is_string(value)) {
            variable(&v, key, json_string_value(value));
        }
    }
    json_decref(env);
    char **all = child_make_environment(v.items);
    child_free_environment(v.items);
    return all;
}

/* "[PROFILER …] WORKER… run SPEC"; the strings are not copied. */
static char **rank_command(const struct spawn *s, char *const *before) {
    char *const run[] = {"run", (char *)s->spec_path, NULL};
    char *const *const parts[] = {before, s->spec->worker, run};
    size_t count = 0;
    char **argv = NULL;
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        for (char *const *w = parts[p]; w && *w; w++) {
            argv = text_reallocate(argv, (count + 2) * sizeof *argv);
            argv[count++] = *w;
        }
    }
    argv[count] = NULL;
    return argv;
}

bool spawn_rank(const struct spawn *s, struct rank *r, struct text *err) {
    bool ok = false;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    const char *profiler = s->spec->profiler;
    // One profile is enough: the other ranks do the same.
    char **before = profiler && *profiler && r->number == 0
                            ? profile_words(profiler, s->folder)
                            : NULL;
    char **argv = rank_command(s, before);
    char **envp = rank_environment(s, r);
    if (output_open(&r->output, s->folder, r->number, err)) {
        struct child_spec c = {
                .argv = argv,
                .envp = envp,
                .stdin_fd = -1,
                .stdout_fd = r->output.stdout_fd,
                .stderr_fd = r->output.stderr_fd,
                .keep_fds = {r->write_fd, s->shm_fd},
                .keep_count = s->shm_fd >= 0 ? 2 : 1,
                .cgroup_fd = s->cgroup_fd,
                .data_limit_bytes = s->memory_limit,
                .cpus = s->bus_id && placement_find(PLACEMENT_ROOT, s->bus_id, &cpus)
                                ? &cpus
                                : NULL,
        };
        ok = child_start(&r->child, &c, err);
    }
    // From here only the rank holds the write end, so its death is our end of file.
    close(r->write_fd);
    r->write_fd = -1;
    if (ok && CPU_COUNT(&cpus) > 0) {
        struct text list = {0};
        placement_show(&cpus, &list);
        r->cpus = text_take(&list);
    }
    if (ok) {
        r->started = true;
        r->pid = r->child.pid;
    }
    child_free_environment(envp);
    free(argv);
    profile_free_words(before);
    return ok;
}
