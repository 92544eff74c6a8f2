#include "worker/backend.h"

const char *backend_name(void) {
    return "worker-cpu";
}

bool backend_on_gpu(void) {
    return false;
}

const struct kernels *backend_kernels(void) {
    return kernels_cpu();
}

const struct comm_backend *backend_comm(void) {
    return &comm_shm_backend;
}
