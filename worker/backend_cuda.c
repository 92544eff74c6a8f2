#include "worker/backend.h"

const char *backend_name(void) {
    return "worker-cuda";
}

bool backend_on_gpu(void) {
    return true;
}

const struct kernels *backend_kernels(void) {
    return kernels_cuda();
}
