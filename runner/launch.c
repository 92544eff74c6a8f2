#include "runner/launch.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SAID_MAX 4096
#define NUMBERS "LM_GPUS"
#define MISSING "LM_GPU_MEMORY_MISSING"

static bool start(struct launch *l, const char *folder, const struct launch_gpus *gpus,
        struct text *err) {
    // The running executable, also after another was built over it.
    char *argv[] = {"/proc/self/exe", "supervise", (char *)folder, NULL};
    struct text visible = {0}, numbers = {0}, missing = {0};
    const char *list = gpus ? gpus->numbers : "";
    text_addf(&visible, "CUDA_VISIBLE_DEVICES=%s", list);
    text_addf(&numbers, NUMBERS "=%s", list);
    text_addf(&missing, MISSING "=%" PRId64, gpus ? gpus->missing_bytes : 0);
    // Ours are numbered like that; CUDA would put the fastest first.
    char *all[] = {visible.data, numbers.data, missing.data,
            "CUDA_DEVICE_ORDER=PCI_BUS_ID", NULL};
    char *none[] = {NULL};
    l->log_fd = memfd_create("supervisor", MFD_CLOEXEC);
    char **environment = child_make_environment(gpus ? all : none);
    text_finish(&visible);
    text_finish(&numbers);
    text_finish(&missing);
    if (l->log_fd < 0) {
        child_free_environment(environment);
        return text_fail(err, "cannot start a supervisor: %s", strerror(errno));
    }
    struct child_spec spec = {
            .argv = argv,
            .envp = environment,
            .stdin_fd = -1,
            .stdout_fd = l->log_fd,
            .stderr_fd = l->log_fd,
            .cgroup_fd = -1,
    };
    bool ok = child_start(&l->child, &spec, err);
    if (!ok) {
        close(l->log_fd);
    }
    child_free_environment(environment);
    return ok;
}

void launch_told(struct launch_gpus *out) {
    const char *numbers = getenv(NUMBERS), *missing = getenv(MISSING);
    *out = (struct launch_gpus){.numbers = numbers ? text_copy(numbers) : NULL,
            .missing_bytes = missing ? strtoll(missing, NULL, 10) : 0};
}

int launch_gpu_number(const struct launch_gpus *g, int index) {
    const char *at = g->numbers ? g->numbers : "";
    for (; *at && index > 0; index--) {
        at += strcspn(at, ",");
        at += *at == ',';
    }
    return *at ? (int)strtol(at, NULL, 10) : -1;
}

void launch_gpus_finish(struct launch_gpus *g) {
    free(g->numbers);
    *g = (struct launch_gpus){0};
}

static int descriptor(const struct launch *l) {
    return l->child.pidfd;
}

static void cancel(struct launch *l) {
    child_signal(&l->child, SIGTERM);
}

static bool collect(struct launch *l, struct text *err) {
    struct child_end end;
    char said[SAID_MAX];
    child_reap(&l->child, &end);
    ssize_t n = pread(l->log_fd, said, sizeof said - 1, 0);
    close(l->log_fd);
    if (end.signal) {
        return text_fail(err, "the supervisor was killed by signal %d", end.signal);
    }
    if (end.exit_code == 0) {
        return true;
    }
    said[n > 0 ? n : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    const char *prefix = "runner: ";
    const char *sentence = said;
    if (!strncmp(sentence, prefix, strlen(prefix))) {
        sentence += strlen(prefix);
    }
    return text_fail(err, "%s", *sentence ? sentence : "the supervisor failed");
}

const struct launcher launch_local = {
        .name = "local",
        .start = start,
        .descriptor = descriptor,
        .cancel = cancel,
        .collect = collect,
};
