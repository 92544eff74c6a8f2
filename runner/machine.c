#include "runner/machine.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "runner/family.h"
#include "runner/folder.h"

/* At most the first `size`−1 bytes of a file in /proc; "" where it is missing. */
static void peek(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size - 1) : 0;
    if (fd >= 0) {
        close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
}

static char *cpu_model(void) {
    // The first processor's entry is enough, and all that the first page holds.
    char bytes[4096];
    peek("/proc/cpuinfo", bytes, sizeof bytes);
    char *line = strstr(bytes, "model name");
    char *colon = line ? strchr(line, ':') : NULL;
    if (!colon) {
        struct utsname u;
        return text_copy(uname(&u) == 0 ? u.machine : "");
    }
    colon += strspn(colon, ": \t");
    colon[strcspn(colon, "\n")] = '\0';
    return text_copy(colon);
}

static int usable_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        return CPU_COUNT(&set);
    }
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* The driver lists its GPUs under /proc, so that nothing of theirs need be linked. */
static void find_gpus(struct machine *m) {
    static const char folder[] = "/proc/driver/nvidia/gpus";
    char **names = folder_names(folder, "");
    m->gpu_bus_ids = folder_names(folder, "");
    m->gpu_count = 0;
    for (char **n = names; *n; n++) {
        char bytes[1024];
        struct text path = {0};
        text_addf(&path, "%s/%s/information", folder, *n);
        peek(text_get(&path), bytes, sizeof bytes);
        text_finish(&path);
        char *model = strstr(bytes, "Model:");
        model = model ? model + strlen("Model:") : bytes;
        model += strspn(model, " \t");
        model[strcspn(model, "\n")] = '\0';
        free(*n);
        *n = text_copy(*model ? model : "GPU");
        m->gpu_count++;
    }
    m->gpus = names;
}

void machine_init(struct machine *m) {
    char bytes[256];
    struct utsname u = {0};
    uname(&u);
    m->host = text_copy(u.nodename);
    peek("/proc/sys/kernel/random/boot_id", bytes, sizeof bytes);
    bytes[strcspn(bytes, "\n")] = '\0';
    m->boot_id = text_copy(bytes);
    m->cpu = cpu_model();
    struct text t = {0};
    text_addf(&t, "%s %s", u.sysname, u.release);
    m->kernel = text_take(&t);
    m->cores = usable_cores();
    m->memory_bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    find_gpus(m);
    text_addf(&t, "%s x %d", m->cpu, m->cores);
    for (int i = 0; i < m->gpu_count; i++) {
        text_addf(&t, ", %s", m->gpus[i]);
    }
    m->name = text_take(&t);
}

void machine_finish(struct machine *m) {
    free(m->host);
    free(m->boot_id);
    free(m->cpu);
    free(m->kernel);
    free(m->name);
    folder_free_names(m->gpus);
    folder_free_names(m->gpu_bus_ids);
    *m = (struct machine){0};
}

void machine_self(struct owner_process *out) {
    int64_t ticks = 0;
    family_start_time(getpid(), &ticks);
    *out = (struct owner_process){.pid = getpid(), .start_ticks = ticks};
}

bool machine_process_lives(
        const struct machine *m, const struct owner *o, const struct owner_process *p) {
    int64_t ticks;
    if (p->pid == 0) {
        return false;
    }
    if (strcmp(o->boot_id, m->boot_id)) {
        // Either another host, where it may live, or this one before a restart.
        return strcmp(o->host, m->host) != 0;
    }
    return family_start_time((pid_t)p->pid, &ticks) && ticks == p->start_ticks;
}

int64_t machine_oom_kills(void) {
    char bytes[16384];
    peek("/proc/vmstat", bytes, sizeof bytes);
    char *at = strstr(bytes, "\noom_kill ");
    return at ? strtoll(at + 10, NULL, 10) : 0;
}

int64_t machine_unix_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void machine_nonce(char out[33]) {
    unsigned char bytes[16] = {0};
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        // Unique is all it has to be: process and time serve where randomness fails.
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        long long parts[2] = {(long long)t.tv_sec << 30 ^ t.tv_nsec, getpid()};
        memcpy(bytes, parts, sizeof bytes);
    }
    for (int i = 0; i < 16; i++) {
        snprintf(out + (ptrdiff_t)2 * i, 3, "%02x", bytes[i]);
    }
}
