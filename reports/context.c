#include "reports/context.h"

#include <string.h>

const struct context context_scaling = {.has = {[PARAM_RANKS] = true,
                                                [PARAM_FIRST_GPU] = true,
                                                [PARAM_DDP] = true,
                                                [PARAM_BUCKET_MB] = true,
                                                [PARAM_THREADS] = true}};

bool context_is_strong(const struct params *p) {
    return params_integer(p, PARAM_GLOBAL_BATCH) > 0;
}

int context_compare_value(
        const struct params *a, const struct params *b, enum param which) {
    if (which == PARAM_BATCH && (context_is_strong(a) || context_is_strong(b))) {
        return context_is_strong(a) - context_is_strong(b);
    }
    switch (axes_get(which)->type) {
    case AXIS_TEXT: {
        const char *x = params_text(a, which);
        const char *y = params_text(b, which);
        return x == y ? 0 : strcmp(x, y);
    }
    case AXIS_REAL: {
        double x = params_real(a, which);
        double y = params_real(b, which);
        return (x > y) - (x < y);
    }
    case AXIS_CHOICE:
    case AXIS_INTEGER:
        break;
    }
    int64_t x = params_integer(a, which);
    int64_t y = params_integer(b, which);
    return (x > y) - (x < y);
}

int context_compare(
        const struct params *a, const struct params *b, const struct context *except) {
    for (int p = 0; p < PARAM_COUNT; p++) {
        if (except->has[p] || !axes_get((enum param)p)->hashed) {
            continue;
        }
        int order = context_compare_value(a, b, (enum param)p);
        if (order) {
            return order;
        }
    }
    return 0;
}

void context_add_differences(
        struct context *c, const struct params *a, const struct params *b) {
    for (int p = 0; p < PARAM_COUNT; p++) {
        if (!c->has[p] && axes_get((enum param)p)->hashed) {
            c->has[p] = context_compare_value(a, b, (enum param)p) != 0;
        }
    }
}

void context_show_value(const struct params *p, enum param which, struct text *out) {
    if (which == PARAM_BATCH && context_is_strong(p)) {
        text_add(out, "shared");
    } else {
        params_show(p, which, out);
    }
}

void context_show(
        const struct params *p, const struct context *which, struct text *out) {
    struct context shown = *which;
    if (context_is_strong(p) && which->has[PARAM_BATCH]) {
        shown.has[PARAM_BATCH] = false;
        shown.has[PARAM_GLOBAL_BATCH] = true;
    }
    bool first = true;
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (shown.has[i]) {
            text_addf(out, "%s%s=", first ? "" : ", ", axes_get((enum param)i)->name);
            params_show(p, (enum param)i, out);
            first = false;
        }
    }
}

bool context_is_shape(enum param which) {
    switch (which) {
    case PARAM_TASK:
    case PARAM_ARCH:
    case PARAM_LAYERS:
    case PARAM_D_MODEL:
    case PARAM_HEADS:
    case PARAM_KV_HEADS:
    case PARAM_D_FF:
    case PARAM_VOCAB:
    case PARAM_SEQ_LEN:
    case PARAM_TOKENIZER:
        return true;
    default:
        return false;
    }
}

bool context_is_technique(enum param which) {
    switch (which) {
    case PARAM_ENGINE:
    case PARAM_KERNEL:
    case PARAM_WINDOW:
    case PARAM_PRECISION:
    case PARAM_CHECKPOINT:
    case PARAM_CHECKPOINT_EVERY:
    case PARAM_RECOMPUTE:
    case PARAM_GRAPH:
    case PARAM_DETERMINISTIC:
    case PARAM_GRAD:
    case PARAM_COMPILE_MODE:
    case PARAM_DDP:
    case PARAM_BUCKET_MB:
        return true;
    default:
        return false;
    }
}
