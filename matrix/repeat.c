#include "matrix/repeat.h"

#include <stdlib.h>
#include <string.h>

#define BIT(choice) (1u << (choice))

/* Parameter `which` is read only where the choice of `by` is one of `readers`. */
struct rule {
    enum param which, by;
    unsigned readers;
};

/* Only what holds for every task and engine. */
static const struct rule rules[] = {
        {PARAM_COMPILE_MODE, PARAM_ENGINE, BIT(ENGINE_TORCH_COMPILE)},
        {PARAM_BUCKET_MB, PARAM_DDP, BIT(DDP_BUCKETED) | BIT(DDP_SHARDED)},
        {PARAM_FIRST_GPU, PARAM_DEVICE, ~BIT(DEVICE_CPU)},
        {PARAM_CHECKPOINT_EVERY, PARAM_CHECKPOINT, BIT(CHECKPOINT_BLOCK)},
        {PARAM_LR_MIN, PARAM_LR_SCHEDULE, ~BIT(LR_SCHEDULE_CONSTANT)},
        {PARAM_INJECT_RANK, PARAM_INJECT, ~BIT(INJECT_NONE)},
        {PARAM_INJECT_STEP, PARAM_INJECT, ~BIT(INJECT_NONE)},
        {PARAM_INJECT_PHASE, PARAM_INJECT, ~BIT(INJECT_NONE)},
};

#define RULES (sizeof rules / sizeof *rules)

/* A cell, and the hash that it has without the parameters that do nothing in it. */
struct effect {
    struct cell *cell;
    char hash[13];
};

static bool is_idle(const struct rule *r, const struct params *p) {
    return !(r->readers & BIT(params_integer(p, r->by)));
}

static void find_effect(struct cell *cell, struct effect *e) {
    struct params p = cell->params;
    bool changed = false;
    for (size_t i = 0; i < RULES; i++) {
        enum param which = rules[i].which;
        if (is_idle(&rules[i], &cell->params) && !params_is_default(&p, which)) {
            p.values[which] = axes_get(which)->fallback;
            changed = true;
        }
    }
    e->cell = cell;
    memcpy(e->hash, cell->hash, sizeof e->hash);
    if (changed) {
        params_hash(&p, e->hash);
    }
}

static int by_effect(const void *a, const void *b) {
    const struct effect *x = a, *y = b;
    int order = strcmp(x->hash, y->hash);
    return order ? order : (x->cell > y->cell) - (x->cell < y->cell);
}

static const char *explain(
        const struct cell *cell, const struct cell *earlier, struct arena *arena) {
    struct text why = {0};
    const struct params *p = &cell->params;
    for (size_t i = 0; i < RULES; i++) {
        const struct rule *r = &rules[i];
        if (is_idle(r, p) &&
                params_real(p, r->which) != params_real(&earlier->params, r->which)) {
            text_addf(&why, "%s%s %s ignores %s", why.size ? " and " : "",
                    axes_get(r->by)->name, params_choice(p, r->by),
                    axes_get(r->which)->name);
        }
    }
    text_addf(&why, ", so it would repeat '%s'", earlier->id);
    const char *reason = arena_copy(arena, text_get(&why));
    text_finish(&why);
    return reason;
}

void repeat_exclude(struct cell *cells, size_t count, struct arena *arena) {
    struct effect *order = text_allocate(count * sizeof *order);
    size_t running = 0;
    for (size_t i = 0; i < count; i++) {
        if (!cells[i].excluded) {
            find_effect(&cells[i], &order[running++]);
        }
    }
    qsort(order, running, sizeof *order, by_effect);
    size_t kept = 0;
    for (size_t i = 1; i < running; i++) {
        if (strcmp(order[kept].hash, order[i].hash) != 0) {
            kept = i;
        } else {
            order[i].cell->excluded = explain(order[i].cell, order[kept].cell, arena);
        }
    }
    free(order);
}
