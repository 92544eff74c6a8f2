/*
 * The metrics of design §8: the names that `result` events, record.json and CSV share,
 * and how the ranks' values become the attempt's. The one list of them.
 */
#ifndef MATRIX_METRIC_H
#define MATRIX_METRIC_H

#include <stdbool.h>

/* How an attempt's value comes from its ranks' (NULL/absent values are left out). */
enum metric_rule {
    METRIC_RANK0,   /* rank 0's word */
    METRIC_SUM,     /* over ranks */
    METRIC_MAXIMUM, /* the largest over ranks */
    METRIC_MEAN,
    METRIC_DERIVED /* computed from others: tokens_per_s from window_tokens, window_ms
                    */
};

struct metric {
    const char *name;
    const char *unit;
    enum metric_rule rule;
    bool per_attempt; /* false: only reports can compute it (speedup, …): not in records
                       */
    const char *help; /* one sentence, printed in the docs of the CSV */
};

/*
 * In this order (rule): tokens_per_s (derived: sum of window_tokens ÷ largest
 * window_ms), window_tokens (sum), window_ms (max), window_steps (rank0),
 * step_ms_median step_ms_p10 step_ms_p90 (max), step_noise (max; (p90−p10)÷median),
 * data_ms forward_ms backward_ms comm_exposed_ms optimizer_ms (max), startup_ms (max;
 * process start to first completed step), train_s (max), s_per_epoch (max),
 * tokens_trained (sum), params (rank0), planned_bytes peak_bytes forward_bytes
 * backward_bytes witness_bytes (max), and by kind params_bytes grads_bytes
 * optimizer_bytes activations_bytes scratch_bytes library_bytes (max), first_loss
 * final_loss (rank0: mean over ranks' batches, all-reduced by the worker), val_loss
 * val_ppl val_accuracy val_tokens (rank0), flops_per_token (rank0), comm_bytes (sum),
 * loss_scale skipped_steps hfu_flops_per_token (rank0), joules_per_token sm_clock_mhz
 * (mean), sm_clock_max_mhz (max), memory_clock_mhz (mean), temperature_c
 * foreign_processes context_bytes handles_bytes nccl_bytes rest_bytes (max),
 * allreduce_bus_bytes_per_s allreduce_latency_ms (rank0: every rank knows the slowest
 * one's times); then, not per attempt: scaling_efficiency memory_overhead_bytes
 * memory_overhead_pct speedup memory_saving_pct mfu hfu.
 */
extern const struct metric metrics[];
extern const int metric_count;

/* NULL where `name` is none of them. */
const struct metric *metric_find(const char *name);

#endif
