#include "kernels/reference.h"

static const struct kernels table = {
#ifdef REFERENCE64
        .name = "reference64",
#else
        .name = "reference",
#endif
        .vocab_multiple = 1,
        .device_count = host_device_count,
        .device_name = host_device_name,
        .allocate = host_allocate,
        .release = host_release,
        .stream_create = host_stream_create,
        .stream_destroy = host_stream_destroy,
        .stream_synchronize = host_stream_synchronize,
        .event_create = host_event_create,
        .event_destroy = host_event_destroy,
        .event_record = host_event_record,
        .event_mark = host_event_record,
        .event_wait = host_event_wait,
        .event_synchronize = host_event_synchronize,
        .event_elapsed_ms = host_event_elapsed_ms,
        .copy = host_copy,
        .fill = host_fill,
        .cast = REF(cast),
        .add = REF(add),
        .gelu_forward = REF(gelu_forward),
        .gelu_backward = REF(gelu_backward),
        .swiglu_forward = REF(swiglu_forward),
        .swiglu_backward = REF(swiglu_backward),
        .rope_forward = REF(rope_forward),
        .rope_backward = REF(rope_backward),
        .embedding_forward = REF(embedding_forward),
        .embedding_backward = REF(embedding_backward),
        .embedding_scratch = REF(embedding_scratch),
        .layernorm_forward = REF(layernorm_forward),
        .layernorm_backward = REF(layernorm_backward),
        .rmsnorm_forward = REF(rmsnorm_forward),
        .rmsnorm_backward = REF(rmsnorm_backward),
        .norm_scratch = REF(layernorm_scratch),
        .matmul_forward = REF(matmul_forward),
        .matmul_backward_input = REF(matmul_backward_input),
        .matmul_backward_weight = REF(matmul_backward_weight),
        .matmul_scratch = REF(matmul_scratch),
        .attention = REF(attention),
        .classifier = REF(classifier),
        .loss_sum = REF(loss_sum),
        .norm_partials = REF(norm_partials),
        .clip = REF(clip),
        .adamw = REF(adamw),
};

const struct kernels *
#ifdef REFERENCE64
kernels_reference64(void)
#else
kernels_reference(void)
#endif
{
    return &table;
}
