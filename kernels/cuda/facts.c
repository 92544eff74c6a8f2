/*
 * What a device is, by attributes that take no context.
 */

#include "kernels/cuda/device.h"

static bool attribute(
        int device, enum cudaDeviceAttr which, int *out, struct kernel_error *err) {
    return cuda_done(cudaDeviceGetAttribute(out, which, device),
            "asking for a device's attribute", err);
}

bool cuda_device_facts(int device, struct device_facts *out, struct kernel_error *err) {
    int major, minor, l2;
    *out = (struct device_facts){.nvlinks = -1};
    if (!attribute(device, cudaDevAttrComputeCapabilityMajor, &major, err) ||
            !attribute(device, cudaDevAttrComputeCapabilityMinor, &minor, err) ||
            !attribute(device, cudaDevAttrMultiProcessorCount, &out->multiprocessors,
                    err) ||
            !attribute(device, cudaDevAttrL2CacheSize, &l2, err) ||
            !cuda_done(
                    cudaDeviceGetPCIBusId(out->bus_id, (int)sizeof out->bus_id, device),
                    "asking for a device's address", err)) {
        return false;
    }
    out->capability = 10 * major + minor;
    out->l2_bytes = l2;
    cuda_driver_facts(device, out);
    return true;
}

bool cuda_device_reaches(int from, int to) {
    int can = 0;
    return cudaDeviceCanAccessPeer(&can, from, to) == cudaSuccess && can;
}
