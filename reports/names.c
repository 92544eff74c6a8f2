#include "reports/names.h"

bool names_next(struct names *n) {
    if (++n->count > n->most) {
        return false;
    }
    text_add(n->out, n->count > 1 ? ", " : "");
    return true;
}

void names_finish(const struct names *n) {
    if (n->count > n->most) {
        text_addf(n->out, " and %zu more", n->count - n->most);
    }
}
