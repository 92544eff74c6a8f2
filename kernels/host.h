/*
 * The device side of a table whose device is the host: its memory, its streams (work is
 * done when the call returns) and its events (a clock reading). Shared by the
 * references and the fast CPU kernels. Contracts are in kernels.h.
 */
#ifndef KERNELS_HOST_H
#define KERNELS_HOST_H

#include "kernels/kernels.h"

struct stream {
    struct stream_options options;
    int threads; /* resolved: at least 1, and 1 where built without OpenMP */
};

/* Bytes are handed out from multiples of this. */
#define HOST_ALIGNMENT 64

int host_device_count(void);
void host_device_name(int device, char *name, size_t size);

/*
 * Zeroed pages whose last byte (of `bytes` rounded up to HOST_ALIGNMENT) lies before a
 * page that nobody may touch: writing past the end faults at once. Refused memory says
 * how much was asked and how much the machine has free.
 */
bool host_allocate(int device, enum memory_kind kind, size_t bytes, void **out,
        struct kernel_error *err);
void host_release(int device, enum memory_kind kind, void *memory, size_t bytes);

/* Starts the stream's threads, so that their stacks are refused here or never. */
bool host_stream_create(const struct stream_options *options, struct stream **out,
        struct kernel_error *err);
void host_stream_destroy(struct stream *stream);
bool host_stream_synchronize(struct stream *stream, struct kernel_error *err);

bool host_event_create(
        struct stream *stream, struct device_event **out, struct kernel_error *err);
void host_event_destroy(struct device_event *event);
bool host_event_record(
        struct stream *stream, struct device_event *event, struct kernel_error *err);
bool host_event_wait(
        struct stream *stream, struct device_event *event, struct kernel_error *err);
bool host_event_synchronize(struct device_event *event, struct kernel_error *err);
bool host_event_elapsed_ms(struct device_event *from, struct device_event *to,
        double *ms, struct kernel_error *err);

bool host_copy(struct stream *stream, enum copy_kind kind, void *to, const void *from,
        size_t bytes, struct kernel_error *err);
bool host_fill(struct stream *stream, void *memory, unsigned char byte, size_t bytes,
        struct kernel_error *err);

#endif
