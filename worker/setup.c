#include <sched.h>

#include "worker/allreduce.h"
#include "worker/backend.h"
#include "worker/comm.h"
#include "worker/setup.h"

int setup_cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* Whether so many ranks can work together here. */
static bool can_join(int64_t ranks, struct text *err) {
    if (ranks > COMM_WORLD_MAX) {
        return text_fail(err, "%lld ranks: a communicator joins at most %d",
                (long long)ranks, COMM_WORLD_MAX);
    }
    struct text why = {0};
    bool joins = backend_comm() && comm_available(backend_comm(), &why);
    if (!joins) {
        text_addf(err, "ranks: %s",
                backend_comm() ? text_get(&why) : "this worker was built without NCCL");
    }
    text_finish(&why);
    return joins;
}

bool setup_check(const struct params *params, struct text *err) {
    int64_t task = params_integer(params, PARAM_TASK);
    if (params_integer(params, PARAM_ENGINE) != ENGINE_NATIVE) {
        return text_fail(err, "engine %s: this worker is the native engine",
                params_choice(params, PARAM_ENGINE));
    }
    int64_t device = params_integer(params, PARAM_DEVICE);
    bool gpu = backend_on_gpu();
    if (device == (gpu ? DEVICE_CPU : DEVICE_CUDA)) {
        return text_fail(err, "device %s: %s serves %s only",
                params_choice(params, PARAM_DEVICE), backend_name(),
                gpu ? "GPUs" : "the CPU");
    }
    if (task == TASK_ALLREDUCE && !allreduce_check(params, err)) {
        return false;
    }
    // Those of task noop never meet.
    int64_t ranks = params_integer(params, PARAM_RANKS);
    if (task != TASK_NOOP && ranks > 1 && !can_join(ranks, err)) {
        return false;
    }
    if (task == TASK_ALLREDUCE) {
        return true;
    }
    if (task != TASK_TRAIN && task != TASK_NOOP) {
        return text_fail(err, "task %s: this version knows train, allreduce and noop",
                params_choice(params, PARAM_TASK));
    }
    if (task == TASK_NOOP) {
        return true;
    }
    if (params_batch(params) < 0) {
        return text_fail(err,
                "batch max: the runner finds the largest batch when the cell runs");
    }
    if (params_integer(params, PARAM_GRAPH) == GRAPH_ON &&
            !backend_kernels()->graph_begin) {
        return text_fail(err, "graph on: a CPU has no graphs");
    }
    return true;
}

bool setup_options(const struct params *params, int64_t vocab,
        struct engine_options *out, struct text *err) {
    int64_t asked = params_integer(params, PARAM_VOCAB);
    if (asked && asked < vocab) {
        return text_fail(err,
                "vocab %lld is smaller than the tokenizer's %lld: some tokens would "
                "have no row",
                (long long)asked, (long long)vocab);
    }
    int world = (int)params_integer(params, PARAM_RANKS);
    *out = (struct engine_options){
            .params = params,
            .vocab = asked ? asked : vocab,
            .batch = params_batch(params),
            .world = world,
            // A GPU's work is no thread's: one, so that any number of ranks compares.
            .threads = backend_on_gpu() && params_integer(params, PARAM_THREADS) == 0
                               ? 1
                               : engine_threads(params, world),
            .kernels = backend_kernels(),
    };
    return true;
}
