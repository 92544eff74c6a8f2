#include "runner/series.h"

#include <string.h>

#include "reports/context.h"

bool series_has(const struct cells *all, const struct cell *c) {
    for (size_t i = 0; i < all->count; i++) {
        const struct cell *other = &all->items[i];
        if ((context_compare_value(&other->params, &c->params, PARAM_RANKS) ||
                    context_compare_value(
                            &other->params, &c->params, PARAM_FIRST_GPU)) &&
                !other->excluded && strcmp(other->matrix, c->matrix) == 0 &&
                context_compare(&other->params, &c->params, &context_scaling) == 0) {
            return true;
        }
    }
    return false;
}
