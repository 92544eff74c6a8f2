#include "worker/backend.h"

#include <stddef.h>

#include "worker/comm_nccl.h"

const char *backend_name(void) {
    return "worker-cuda";
}

bool backend_on_gpu(void) {
    return true;
}

const struct kernels *backend_kernels(void) {
    return kernels_cuda();
}

const struct comm_backend *backend_comm(void) {
#ifdef LM_NCCL
    return &comm_nccl_backend;
#else
    return NULL;
#endif
}
