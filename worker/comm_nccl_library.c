#include "worker/comm_nccl_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { OLDEST = 21800 };

struct entry {
    const char *name;
    size_t offset;
};

#define ENTRY(name, field)                                                             \
    { name, offsetof(struct comm_nccl_library, field) }

static const struct entry needed[] = {
        ENTRY("ncclGetErrorString", error_string),
        ENTRY("ncclGetLastError", last_error),
        ENTRY("ncclGetUniqueId", unique_id),
        ENTRY("ncclCommInitRankConfig", init_rank),
        ENTRY("ncclCommDestroy", destroy),
        ENTRY("ncclCommGetAsyncError", async_error),
        ENTRY("ncclAllReduce", all_reduce),
        ENTRY("ncclReduceScatter", reduce_scatter),
        ENTRY("ncclAllGather", all_gather),
};

static const struct entry windows[] = {
        ENTRY("ncclMemAlloc", mem_alloc),
        ENTRY("ncclMemFree", mem_free),
        ENTRY("ncclCommWindowRegister", window_register),
        ENTRY("ncclCommWindowDeregister", window_deregister),
};

/* The first of `entries` that the library lacks; NULL: all are in `lib` now. */
static const char *find(void *handle, const struct entry *entries, size_t count,
        struct comm_nccl_library *lib) {
    for (size_t i = 0; i < count; i++) {
        void *entry = dlsym(handle, entries[i].name);
        if (!entry) {
            return entries[i].name;
        }
        memcpy((char *)lib + entries[i].offset, &entry, sizeof entry);
    }
    return NULL;
}

static bool read_version(void *handle, int *version, struct text *err) {
    ncclResult_t (*ask)(int *) = NULL;
    void *entry = dlsym(handle, "ncclGetVersion");
    memcpy(&ask, &entry, sizeof entry);
    if (!ask || ask(version) != ncclSuccess) {
        return text_fail(err, "NCCL is here, but does not tell its version");
    }
    return *version >= OLDEST ||
           text_fail(err, "NCCL %d is here: 2.18 or later is needed", *version);
}

static bool load(struct comm_nccl_library *lib, struct text *err) {
    void *handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        // Where the build found it, if the loader does not look there.
        handle = dlopen(LM_NCCL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    }
    if (!handle) {
        return text_fail(err, "NCCL is not here: %s", dlerror());
    }
    struct comm_nccl_library found = {0};
    const char *missing;
    if (!read_version(handle, &found.version, err)) {
        goto fail;
    }
    missing = find(handle, needed, sizeof needed / sizeof *needed, &found);
    if (missing) {
        text_fail(err, "NCCL %d has no %s", found.version, missing);
        goto fail;
    }
    if (find(handle, windows, sizeof windows / sizeof *windows, &found)) {
        found.window_register = NULL;
    }
    *lib = found;
    return true;
fail:
    (void)dlclose(handle);
    return false;
}

const struct comm_nccl_library *comm_nccl_library_open(struct text *err) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static struct comm_nccl_library library;
    pthread_mutex_lock(&mutex);
    bool open = library.version || load(&library, err);
    pthread_mutex_unlock(&mutex);
    return open ? &library : NULL;
}

bool comm_nccl_library_done(const struct comm_nccl_library *lib, ncclResult_t status,
        const char *what, struct text *err) {
    if (status == ncclSuccess) {
        return true;
    }
    const char *words = lib->last_error(NULL);
    return text_fail(err, "%s: NCCL: %s%s%s", what, lib->error_string(status),
            words && *words ? ": " : "", words ? words : "");
}
