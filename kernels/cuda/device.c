/*
 * Devices, memory, streams and events: the parts of the table that are CUDA's
 * runtime under another name.
 */
#include "kernels/cuda/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/ops.h"

struct device_event {
    cudaEvent_t handle;
};

bool cuda_done(cudaError_t status, const char *what, struct kernel_error *err) {
    if (status == cudaSuccess) {
        return true;
    }
    size_t free_bytes = 0, total = 0;
    bool refused = status == cudaErrorMemoryAllocation;
    if (refused) {
        (void)cudaGetLastError(); // not sticky: the next call starts clean
        (void)cudaMemGetInfo(&free_bytes, &total);
    }
    kernel_fail(err, refused ? KERNEL_OUT_OF_DEVICE_MEMORY : KERNEL_DEVICE_FAULT,
            "%s: %s (%s)", what, cudaGetErrorString(status), cudaGetErrorName(status));
    err->bytes_free = free_bytes;
    return false;
}

bool cuda_launched(const char *what, struct kernel_error *err) {
    return cuda_done(cudaGetLastError(), what, err);
}

/* -- devices and memory --------------------------------------------------------------
 */

int cuda_device_count(void) {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

void cuda_device_name(int device, char *name, size_t size) {
    struct cudaDeviceProp properties;
    bool known = cudaGetDeviceProperties(&properties, device) == cudaSuccess;
    snprintf(name, size, "%s", known ? properties.name : "");
}

bool cuda_device_memory(
        int device, size_t *free_bytes, size_t *total_bytes, struct kernel_error *err) {
    return cuda_done(cudaSetDevice(device), "choosing the device", err) &&
           cuda_done(cudaMemGetInfo(free_bytes, total_bytes), "asking for free memory",
                   err);
}

bool cuda_allocate(int device, enum memory_kind kind, size_t bytes, void **out,
        struct kernel_error *err) {
    size_t some = bytes ? bytes : 1;
    *out = NULL;
    if (!cuda_done(cudaSetDevice(device), "choosing the device", err)) {
        return false;
    }
    cudaError_t status =
            kind == MEMORY_PINNED ? cudaMallocHost(out, some) : cudaMalloc(out, some);
    if (cuda_done(status, kind == MEMORY_PINNED ? "pinned memory" : "device memory",
                err)) {
        return true;
    }
    err->bytes_asked = bytes;
    if (err->kind == KERNEL_OUT_OF_DEVICE_MEMORY && kind == MEMORY_PINNED) {
        err->kind = KERNEL_OUT_OF_MEMORY;
    }
    return false;
}

void cuda_release(int device, enum memory_kind kind, void *memory, size_t bytes) {
    (void)device;
    (void)bytes;
    // A failure here is an older, sticky one that its own call has reported.
    (void)(kind == MEMORY_PINNED ? cudaFreeHost(memory) : cudaFree(memory));
}

/* -- streams and events --------------------------------------------------------------
 */

bool cuda_stream_create(const struct stream_options *options, struct stream **out,
        struct kernel_error *err) {
    *out = NULL;
    struct stream *s = calloc(1, sizeof *s);
    if (!s) {
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for a stream");
    }
    s->options = *options;
    if (cuda_done(cudaSetDevice(options->device), "choosing the device", err) &&
            cuda_done(cudaStreamCreateWithFlags(&s->handle, cudaStreamNonBlocking),
                    "creating a stream", err) &&
            cuda_done(cudaDeviceGetAttribute(&s->multiprocessors,
                              cudaDevAttrMultiProcessorCount, options->device),
                    "asking for multiprocessors", err) &&
            gemm_create(options, &s->gemm, err)) {
        s->options.tuning = NULL;
        *out = s;
        return true;
    }
    cuda_stream_destroy(s);
    return false;
}

void cuda_stream_destroy(struct stream *s) {
    if (!s) {
        return;
    }
    gemm_destroy(s->gemm);
    if (s->handle) {
        (void)cudaStreamDestroy(s->handle);
    }
    free(s);
}

bool cuda_stream_synchronize(struct stream *s, struct kernel_error *err) {
    return cuda_done(cudaStreamSynchronize(s->handle), "waiting for the device", err);
}

bool cuda_event_create(
        struct stream *s, struct device_event **out, struct kernel_error *err) {
    (void)s;
    *out = NULL;
    struct device_event *event = calloc(1, sizeof *event);
    if (!event) {
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for an event");
    }
    if (!cuda_done(cudaEventCreate(&event->handle), "creating an event", err)) {
        free(event);
        return false;
    }
    *out = event;
    return true;
}

void cuda_event_destroy(struct device_event *event) {
    if (event) {
        (void)cudaEventDestroy(event->handle);
        free(event);
    }
}

bool cuda_event_record(
        struct stream *s, struct device_event *event, struct kernel_error *err) {
    return cuda_done(
            cudaEventRecord(event->handle, s->handle), "recording an event", err);
}

bool cuda_event_mark(
        struct stream *s, struct device_event *event, struct kernel_error *err) {
    enum cudaStreamCaptureStatus capturing;
    if (!cuda_done(cudaStreamIsCapturing(s->handle, &capturing), "marking", err)) {
        return false;
    }
    unsigned flags = capturing == cudaStreamCaptureStatusActive
                             ? cudaEventRecordExternal
                             : cudaEventRecordDefault;
    return cuda_done(
            cudaEventRecordWithFlags(event->handle, s->handle, flags), "marking", err);
}

bool cuda_event_wait(
        struct stream *s, struct device_event *event, struct kernel_error *err) {
    return cuda_done(
            cudaStreamWaitEvent(s->handle, event->handle, 0), "awaiting an event", err);
}

bool cuda_event_synchronize(struct device_event *event, struct kernel_error *err) {
    return cuda_done(cudaEventSynchronize(event->handle), "waiting for an event", err);
}

bool cuda_event_elapsed_ms(struct device_event *from, struct device_event *to,
        double *ms, struct kernel_error *err) {
    float elapsed = 0;
    bool good = cuda_done(cudaEventElapsedTime(&elapsed, from->handle, to->handle),
            "timing by events", err);
    *ms = elapsed;
    return good;
}

/* -- copies --------------------------------------------------------------------------
 */

bool cuda_copy(struct stream *s, enum copy_kind kind, void *to, const void *from,
        size_t bytes, struct kernel_error *err) {
    static const enum cudaMemcpyKind kinds[] = {
            [COPY_TO_DEVICE] = cudaMemcpyHostToDevice,
            [COPY_TO_HOST] = cudaMemcpyDeviceToHost,
            [COPY_ON_DEVICE] = cudaMemcpyDeviceToDevice};
    return cuda_done(
            cudaMemcpyAsync(to, from, bytes, kinds[kind], s->handle), "a copy", err);
}

bool cuda_fill(struct stream *s, void *memory, unsigned char byte, size_t bytes,
        struct kernel_error *err) {
    return cuda_done(cudaMemsetAsync(memory, byte, bytes, s->handle), "a fill", err);
}
