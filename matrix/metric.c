#include "matrix/metric.h"

#include <stddef.h>
#include <string.h>

const struct metric metrics[] = {
        {"tokens_per_s", "tokens/s", METRIC_DERIVED, true,
                "tokens trained in the timed window over all ranks, divided by the "
                "slowest rank's time"},
        {"window_tokens", "tokens", METRIC_SUM, true,
                "tokens trained in the timed window, over all ranks"},
        {"window_ms", "ms", METRIC_MAXIMUM, true,
                "length of the timed window, of the slowest rank"},
        {"window_steps", "steps", METRIC_RANK0, true, "steps in the timed window"},
        {"step_ms_median", "ms", METRIC_MAXIMUM, true,
                "median time of a step in the timed window"},
        {"step_ms_p10", "ms", METRIC_MAXIMUM, true, "10th percentile of a step's time"},
        {"step_ms_p90", "ms", METRIC_MAXIMUM, true, "90th percentile of a step's time"},
        {"step_noise", "", METRIC_MAXIMUM, true,
                "(p90 - p10) / median of the step times"},
        {"data_ms", "ms", METRIC_MAXIMUM, true,
                "loading a batch, from instrumented steps"},
        {"forward_ms", "ms", METRIC_MAXIMUM, true, "forward, from instrumented steps"},
        {"backward_ms", "ms", METRIC_MAXIMUM, true,
                "backward, from instrumented steps"},
        {"comm_exposed_ms", "ms", METRIC_MAXIMUM, true,
                "communication not hidden behind backward, from instrumented steps"},
        {"optimizer_ms", "ms", METRIC_MAXIMUM, true,
                "clipping and optimizer, from instrumented steps"},
        {"startup_ms", "ms", METRIC_MAXIMUM, true,
                "start of the process to the first completed step"},
        {"train_s", "s", METRIC_MAXIMUM, true, "training, evaluation left out"},
        {"s_per_epoch", "s", METRIC_MAXIMUM, true,
                "one pass over the training split at the measured speed"},
        {"tokens_trained", "tokens", METRIC_SUM, true,
                "tokens trained by all ranks, warm-up included"},
        {"params", "", METRIC_RANK0, true, "trainable parameters of the model"},
        {"planned_bytes", "bytes", METRIC_MAXIMUM, true,
                "memory of one rank as the plan foresaw it"},
        {"peak_bytes", "bytes", METRIC_MAXIMUM, true,
                "most memory one rank used, library workspaces included; of PyTorch on "
                "a CPU by how much its process grew"},
        {"forward_bytes", "bytes", METRIC_MAXIMUM, true,
                "memory in use at the end of forward"},
        {"backward_bytes", "bytes", METRIC_MAXIMUM, true,
                "memory in use at the end of backward"},
        {"witness_bytes", "bytes", METRIC_MAXIMUM, true,
                "what the device, or the kernel on a CPU, says the rank uses"},
        {"params_bytes", "bytes", METRIC_MAXIMUM, true, "memory of the weights"},
        {"grads_bytes", "bytes", METRIC_MAXIMUM, true, "memory of the gradients"},
        {"optimizer_bytes", "bytes", METRIC_MAXIMUM, true,
                "memory of the optimizer's state, master weights included"},
        {"activations_bytes", "bytes", METRIC_MAXIMUM, true,
                "memory of what forward keeps for backward; of engine native also of "
                "temporaries within a step"},
        {"scratch_bytes", "bytes", METRIC_MAXIMUM, true,
                "memory of temporaries within a step that lie apart; task allreduce's "
                "array"},
        {"library_bytes", "bytes", METRIC_MAXIMUM, true,
                "workspaces handed to libraries"},
        {"first_loss", "nats/token", METRIC_RANK0, true,
                "training loss of the first step"},
        {"final_loss", "nats/token", METRIC_RANK0, true,
                "training loss of the last step"},
        {"val_loss", "nats/token", METRIC_RANK0, true,
                "loss per token over the validation tokens"},
        {"val_ppl", "", METRIC_RANK0, true, "exp(val_loss)"},
        {"val_accuracy", "", METRIC_RANK0, true,
                "share of validation tokens whose likeliest prediction is right"},
        {"val_tokens", "tokens", METRIC_RANK0, true, "validation tokens evaluated"},
        {"flops_per_token", "flop", METRIC_RANK0, true,
                "6 x parameters in matrix products + 12 x layers x d_model x mean "
                "unmasked keys"},
        {"comm_bytes", "bytes", METRIC_SUM, true,
                "bytes that links carried for the ranks' collectives, in all steps of "
                "training"},
        {"loss_scale", "", METRIC_RANK0, true, "loss scale after the last step"},
        {"skipped_steps", "steps", METRIC_RANK0, true,
                "steps without an update because a gradient overflowed"},
        {"hfu_flops_per_token", "flop", METRIC_RANK0, true,
                "flops_per_token with what checkpointing computes again"},
        {"joules_per_token", "J/token", METRIC_MEAN, true,
                "energy the device used in the timed window, where that lasted 2 s"},
        {"sm_clock_mhz", "MHz", METRIC_MEAN, true,
                "mean clock of the GPU's multiprocessors in the timed window"},
        {"sm_clock_max_mhz", "MHz", METRIC_MAXIMUM, true, "the highest it can take"},
        {"memory_clock_mhz", "MHz", METRIC_MEAN, true,
                "mean clock of its memory in the timed window"},
        {"temperature_c", "degrees C", METRIC_MAXIMUM, true,
                "highest temperature of the GPU in the timed window"},
        {"foreign_processes", "", METRIC_MAXIMUM, true,
                "most processes that computed on the GPU beside the rank"},
        {"context_bytes", "bytes", METRIC_MAXIMUM, true,
                "device memory of the CUDA context"},
        {"handles_bytes", "bytes", METRIC_MAXIMUM, true,
                "device memory of streams and library handles"},
        {"nccl_bytes", "bytes", METRIC_MAXIMUM, true,
                "device memory that NCCL took, what it rounded up included"},
        {"rest_bytes", "bytes", METRIC_MAXIMUM, true,
                "witness_bytes less plan, context, handles and NCCL: code loaded "
                "later, graphs, rounding"},
        {"allreduce_bus_bytes_per_s", "bytes/s", METRIC_RANK0, true,
                "largest over sizes of bytes x 2 (ranks - 1) / ranks / median time of "
                "an all-reduce"},
        {"allreduce_latency_ms", "ms", METRIC_RANK0, true,
                "median time of an all-reduce of the smallest size"},
        {"scaling_efficiency", "", METRIC_DERIVED, false,
                "tokens_per_s / tokens_per_s of the same cell on one rank, summed over "
                "GPUs"},
        {"memory_overhead_bytes", "bytes", METRIC_DERIVED, false,
                "peak_bytes less that of the same cell on one rank; under strong "
                "scaling a rank's share of the batch shrinks it, too"},
        {"memory_overhead_pct", "%", METRIC_DERIVED, false,
                "memory_overhead_bytes as a share of the one-rank cell's peak_bytes"},
        {"speedup", "", METRIC_DERIVED, false,
                "tokens_per_s / that of the matrix's baseline"},
        {"memory_saving_pct", "%", METRIC_DERIVED, false,
                "how much less peak_bytes is than the baseline's"},
        {"mfu", "", METRIC_DERIVED, false,
                "model flop/s / the device's dense peak for the precision"},
        {"hfu", "", METRIC_DERIVED, false,
                "as mfu, with the work that recomputation adds"},
};

const int metric_count = sizeof metrics / sizeof *metrics;

const struct metric *metric_find(const char *name) {
    for (int i = 0; i < metric_count; i++) {
        if (!strcmp(metrics[i].name, name)) {
            return &metrics[i];
        }
    }
    return NULL;
}
