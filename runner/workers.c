#include "runner/workers.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *beside(const char *folder, const char *name, bool *there, int mode) {
    struct text t = {0};
    text_addf(&t, "%s/%s", folder, name);
    *there = access(text_get(&t), mode) == 0;
    return text_take(&t);
}

static char **split_words(const char *line) {
    size_t count = 0;
    char **words = text_allocate_zeroed(1, sizeof *words);
    while (*(line += strspn(line, " "))) {
        size_t n = strcspn(line, " ");
        words = text_reallocate(words, (count + 2) * sizeof *words);
        words[count] = text_allocate(n + 1);
        memcpy(words[count], line, n);
        words[count][n] = '\0';
        words[++count] = NULL;
        line += n;
    }
    if (count == 0) {
        free(words);
        return NULL;
    }
    return words;
}

/* The interpreter of peer engines: $LM_PYTHON, else .venv's, else python3. Whether it
 * has what a peer needs is for the peer to say: to ask would take seconds. */
static char *python(const char *folder) {
    const char *asked = getenv("LM_PYTHON");
    if (asked && *asked) {
        return text_copy(asked);
    }
    bool there;
    char *own = beside(folder, "../.venv/bin/python", &there, X_OK);
    if (there) {
        return own;
    }
    free(own);
    return text_copy("python3");
}

bool workers_init(struct workers *w, struct text *err) {
    char path[PATH_MAX];
    *w = (struct workers){0};
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n < 0) {
        return text_fail(
                err, "cannot find the runner's own folder: %s", strerror(errno));
    }
    path[n] = '\0';
    *strrchr(path, '/') = '\0';
    w->folder = text_copy(path);
    const char *line = getenv("LM_WORKER");
    w->override = line ? split_words(line) : NULL;
    // The driver's word: a worker that was built here need not find a device here.
    w->has_gpu = access("/proc/driver/nvidia/gpus", R_OK) == 0;
    w->cpu = beside(path, "worker-cpu", &w->has_cpu, X_OK);
    w->cuda = beside(path, "worker-cuda", &w->has_cuda, X_OK);
    w->torch = beside(path, "../worker/peers/torch_worker.py", &w->has_torch, R_OK);
    w->python = python(path);
    return true;
}

void workers_finish(struct workers *w) {
    for (char **o = w->override; o && *o; o++) {
        free(*o);
    }
    free(w->override);
    free(w->folder);
    free(w->cpu);
    free(w->cuda);
    free(w->torch);
    free(w->python);
    *w = (struct workers){0};
}

static char **command(char *first, char *second) {
    char **argv = text_allocate_zeroed(3, sizeof *argv);
    argv[0] = first;
    argv[1] = second;
    return argv;
}

bool workers_uses_gpu(const struct workers *w, const struct params *p) {
    int64_t device = params_integer(p, PARAM_DEVICE);
    return device == DEVICE_CUDA ||
           (device == DEVICE_AUTO && w->has_cuda && w->has_gpu);
}

char **workers_choose(
        const struct workers *w, const struct params *p, struct text *why) {
    if (w->override) {
        size_t n = 0;
        while (w->override[n]) {
            n++;
        }
        char **argv = text_allocate_zeroed(n + 1, sizeof *argv);
        memcpy(argv, w->override, n * sizeof *argv);
        return argv;
    }
    if (params_integer(p, PARAM_ENGINE) != ENGINE_NATIVE) {
        if (!w->has_torch) {
            text_addf(why,
                    "engine '%s' needs worker/peers/torch_worker.py, which is "
                    "not part of this version",
                    params_choice(p, PARAM_ENGINE));
            return NULL;
        }
        return command(w->python, w->torch);
    }
    if (workers_uses_gpu(w, p)) {
        if (!w->has_cuda) {
            text_addf(
                    why, "device 'cuda' needs '%s', which was not built here", w->cuda);
            return NULL;
        }
        return command(w->cuda, NULL);
    }
    if (!w->has_cpu) {
        text_addf(why, "there is no '%s'", w->cpu);
        return NULL;
    }
    return command(w->cpu, NULL);
}
