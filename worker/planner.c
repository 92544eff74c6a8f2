#include <stdio.h>

#include "matrix/spec.h"
#include "worker/allreduce.h"
#include "worker/engine.h"
#include "worker/planner.h"
#include "worker/setup.h"
#include "worker/tokenizer.h"

/* Bytes by owner; false with a sentence, and whether that means "not served". */
static bool plan(const struct params *params, struct engine_memory *out,
        bool *unsupported, struct text *err) {
    *out = (struct engine_memory){0};
    *unsupported = true;
    if (!setup_check(params, err)) {
        return false;
    }
    *unsupported = false;
    if (params_integer(params, PARAM_TASK) == TASK_NOOP) {
        return true;
    }
    if (params_integer(params, PARAM_TASK) == TASK_ALLREDUCE) {
        out->planned[OWNER_SCRATCH] = allreduce_planned_bytes(params);
        return true;
    }
    struct tokenizer tokenizer;
    struct kernel_error why = {0};
    if (!tokenizer_init(&tokenizer, params_text(params, PARAM_TOKENIZER), &why, err)) {
        *unsupported = why.kind == KERNEL_UNSUPPORTED;
        return false;
    }
    struct engine_options options;
    return setup_options(params, tokenizer.vocab, &options, err) &&
           engine_plan(&options, out, unsupported, err);
}

json_t *planner_answer(const char *line, size_t size) {
    struct spec spec = {0};
    struct text err = {0};
    struct engine_memory memory;
    bool unsupported = false;
    bool parsed = spec_parse("standard input", line, size, &spec, &err);
    bool planned = parsed && plan(&spec.params, &memory, &unsupported, &err);
    json_t *answer = json_pack("{s:s}", "cell", parsed ? spec.cell : "");
    if (!planned) {
        json_object_set_new(answer, "error", json_string(text_get(&err)));
        json_object_set_new(answer, "unsupported", json_boolean(unsupported));
    } else {
        int64_t sum = 0;
        for (int o = 0; o < OWNER_COUNT; o++) {
            sum += memory.planned[o];
        }
        json_object_set_new(answer, "planned_bytes", json_integer(sum));
        for (int o = 0; o < OWNER_COUNT; o++) {
            char name[64];
            snprintf(name, sizeof name, "%s_bytes", memory_owner_name(o));
            json_object_set_new(answer, name, json_integer(memory.planned[o]));
        }
    }
    text_finish(&err);
    spec_finish(&spec);
    return answer;
}
