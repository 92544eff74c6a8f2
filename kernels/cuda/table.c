#include <string.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/ops.h"

const struct attention_kernel *cuda_attention(const char *name) {
    const struct attention_kernel *const all[] = {
            &cuda_naive,
            &cuda_fused,
#ifdef LM_CUDNN
            &cuda_cudnn,
#endif
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return all[i];
        }
    }
    return NULL;
}

const struct kernels *kernels_cuda(void) {
    static const struct kernels table = {
            .name = "cuda",
            .vocab_multiple = 128,
            .device_count = cuda_device_count,
            .device_name = cuda_device_name,
            .device_memory = cuda_device_memory,
            .telemetry = cuda_telemetry,
            .occupancy = cuda_occupancy,
            .device_facts = cuda_device_facts,
            .device_reaches = cuda_device_reaches,
            .range_push = cuda_range_push,
            .range_pop = cuda_range_pop,
            .allocate = cuda_allocate,
            .release = cuda_release,
            .stream_create = cuda_stream_create,
            .stream_destroy = cuda_stream_destroy,
            .stream_synchronize = cuda_stream_synchronize,
            .event_create = cuda_event_create,
            .event_destroy = cuda_event_destroy,
            .event_record = cuda_event_record,
            .event_mark = cuda_event_mark,
            .event_wait = cuda_event_wait,
            .event_synchronize = cuda_event_synchronize,
            .event_elapsed_ms = cuda_event_elapsed_ms,
            .graph_begin = cuda_graph_begin,
            .graph_end = cuda_graph_end,
            .graph_launch = cuda_graph_launch,
            .graph_destroy = cuda_graph_destroy,
            .copy = cuda_copy,
            .fill = cuda_fill,
            .normal = cuda_normal,
            .cast = cuda_cast,
            .add = cuda_add,
            .gelu_forward = cuda_gelu_forward,
            .gelu_backward = cuda_gelu_backward,
            .swiglu_forward = cuda_swiglu_forward,
            .swiglu_backward = cuda_swiglu_backward,
            .rope_forward = cuda_rope_forward,
            .rope_backward = cuda_rope_backward,
            .embedding_forward = cuda_embedding_forward,
            .embedding_backward = cuda_embedding_backward,
            .embedding_scratch = cuda_embedding_scratch,
            .layernorm_forward = cuda_layernorm_forward,
            .layernorm_backward = cuda_layernorm_backward,
            .rmsnorm_forward = cuda_rmsnorm_forward,
            .rmsnorm_backward = cuda_rmsnorm_backward,
            .norm_scratch = cuda_norm_scratch,
            .matmul_forward = cuda_matmul_forward,
            .matmul_backward_input = cuda_matmul_backward_input,
            .matmul_backward_weight = cuda_matmul_backward_weight,
            .matmul_scratch = cuda_matmul_scratch,
            .matmul_tune = cuda_matmul_tune,
            .tuning_save = cuda_tuning_save,
            .tuning_digest = cuda_tuning_digest,
            .attention = cuda_attention,
            .classifier = cuda_classifier,
            .loss_sum = cuda_loss_sum,
            .norm_partials = cuda_norm_partials,
            .clip = cuda_clip,
            .adamw = cuda_adamw,
    };
    return &table;
}
