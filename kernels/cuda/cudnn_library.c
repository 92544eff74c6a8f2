#include "kernels/cuda/cudnn_library.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static bool find_entries(
        void *handle, struct cudnn_library *lib, struct kernel_error *err) {
    static const struct {
        const char *name;
        size_t offset;
    } entries[] = {
            {"cudnnCreate", offsetof(struct cudnn_library, create_handle)},
            {"cudnnDestroy", offsetof(struct cudnn_library, destroy_handle)},
            {"cudnnSetStream", offsetof(struct cudnn_library, set_stream)},
            {"cudnnGetErrorString", offsetof(struct cudnn_library, error_string)},
            {"cudnnGetLastErrorString",
                    offsetof(struct cudnn_library, last_error_string)},
            {"cudnnBackendCreateDescriptor", offsetof(struct cudnn_library, create)},
            {"cudnnBackendDestroyDescriptor", offsetof(struct cudnn_library, destroy)},
            {"cudnnBackendSetAttribute", offsetof(struct cudnn_library, set)},
            {"cudnnBackendGetAttribute", offsetof(struct cudnn_library, get)},
            {"cudnnBackendFinalize", offsetof(struct cudnn_library, finalize)},
            {"cudnnBackendExecute", offsetof(struct cudnn_library, execute)},
    };
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        void *entry = dlsym(handle, entries[i].name);
        if (!entry) {
            return kernel_fail(
                    err, KERNEL_UNSUPPORTED, "this cuDNN has no %s", entries[i].name);
        }
        memcpy((char *)lib + entries[i].offset, &entry, sizeof entry);
    }
    return true;
}

// What we know of versions: NVIDIA's own frontend refuses the two of 9.10; before 9.6
// the accumulator of dQ had to be cleared by the caller.
static bool is_trusted(size_t version, struct kernel_error *err) {
    int major = (int)(version / 10000), minor = (int)(version / 100 % 100);
    if (version < 90600 || version == 91000 || version == 91001) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "cuDNN %d.%d.%d is here, whose attention is not to be trusted: 9.6 or "
                "later, but not 9.10.0 or 9.10.1, is needed",
                major, minor, (int)(version % 100));
    }
    return true;
}

const struct cudnn_library *cudnn_library_open(struct kernel_error *err) {
    static struct cudnn_library library;
    if (library.version) {
        return &library;
    }
    void *handle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        // Where the build found it, if the loader does not look there.
        handle = dlopen(LM_CUDNN_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    }
    if (!handle) {
        kernel_fail(err, KERNEL_UNSUPPORTED, "cuDNN is not here: %s", dlerror());
        return NULL;
    }
    size_t (*version)(void) = NULL;
    void *entry = dlsym(handle, "cudnnGetVersion");
    memcpy(&version, &entry, sizeof entry);
    struct cudnn_library found = {.version = version ? version() : 0};
    if (!is_trusted(found.version, err) || !find_entries(handle, &found, err)) {
        (void)dlclose(handle);
        return NULL;
    }
    library = found;
    return &library;
}

bool cudnn_library_done(const struct cudnn_library *lib, cudnnStatus_t status,
        const char *what, enum kernel_failure kind, struct kernel_error *err) {
    if (status == CUDNN_STATUS_SUCCESS) {
        return true;
    }
    char words[128] = "";
    lib->last_error_string(words, sizeof words);
    words[strcspn(words, "\n")] = '\0';
    return kernel_fail(err, kind, "%s: %s%s%s", what, lib->error_string(status),
            *words ? ": " : "", words);
}
