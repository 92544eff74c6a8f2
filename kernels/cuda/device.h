/*
 * The device side of the CUDA table; contracts are in kernels.h.
 */
#ifndef KERNELS_CUDA_DEVICE_H
#define KERNELS_CUDA_DEVICE_H

#include "kernels/cuda/cuda.h"

int cuda_device_count(void); /* 0 where there is no driver */
void cuda_device_name(int device, char *name, size_t size);
bool cuda_device_memory(
        int device, size_t *free_bytes, size_t *total_bytes, struct kernel_error *err);
bool cuda_telemetry(int device, struct telemetry *out); /* kernels/cuda/telemetry.c */
bool cuda_occupancy(const char *bus_id, struct occupancy *out); /* likewise */
/* The driver's version and the device's links, where NVML tells; likewise. */
void cuda_driver_facts(int device, struct device_facts *out);
bool cuda_device_facts(int device, struct device_facts *out,
        struct kernel_error *err); /* kernels/cuda/facts.c */
bool cuda_device_reaches(int from, int to);
void cuda_range_push(const char *name); /* kernels/cuda/range.c */
void cuda_range_pop(void);
bool cuda_allocate(int device, enum memory_kind kind, size_t bytes, void **out,
        struct kernel_error *err);
void cuda_release(int device, enum memory_kind kind, void *memory, size_t bytes);

bool cuda_stream_create(const struct stream_options *options, struct stream **out,
        struct kernel_error *err);
void cuda_stream_destroy(struct stream *s);
bool cuda_stream_synchronize(struct stream *s, struct kernel_error *err);
bool cuda_event_create(
        struct stream *s, struct device_event **out, struct kernel_error *err);
void cuda_event_destroy(struct device_event *event);
bool cuda_event_record(
        struct stream *s, struct device_event *event, struct kernel_error *err);
bool cuda_event_mark(
        struct stream *s, struct device_event *event, struct kernel_error *err);
bool cuda_event_wait(
        struct stream *s, struct device_event *event, struct kernel_error *err);
bool cuda_event_synchronize(struct device_event *event, struct kernel_error *err);
bool cuda_event_elapsed_ms(struct device_event *from, struct device_event *to,
        double *ms, struct kernel_error *err);

/* Of kernels/cuda/graph.c. */
bool cuda_graph_begin(struct stream *s, struct kernel_error *err);
bool cuda_graph_end(struct stream *s, struct graph **out, struct kernel_error *err);
bool cuda_graph_launch(struct stream *s, struct graph *graph, struct kernel_error *err);
void cuda_graph_destroy(struct graph *graph);

bool cuda_copy(struct stream *s, enum copy_kind kind, void *to, const void *from,
        size_t bytes, struct kernel_error *err);
bool cuda_fill(struct stream *s, void *memory, unsigned char byte, size_t bytes,
        struct kernel_error *err);

#endif
