#include "runner/bracket.h"

void bracket_init(struct bracket *b, int64_t most) {
    *b = (struct bracket){.most = most, .high = most + 1};
}

int64_t bracket_step(int64_t batch) {
    return batch < 100 ? 1 : batch / 50;
}

static bool hinted(const struct bracket *b) {
    return b->hint > b->low && b->hint < b->high;
}

void bracket_hint(struct bracket *b, int64_t batch) {
    b->hint = batch < b->most ? batch : b->most;
}

static int64_t climb(const struct bracket *b) {
    int64_t next = b->stride ? b->low + b->stride : b->low ? 2 * b->low : 1;
    return next < b->most ? next : b->most;
}

int64_t bracket_next(const struct bracket *b) {
    if (b->high - b->low <= bracket_step(b->low)) {
        return 0;
    }
    if (hinted(b)) {
        return b->hint;
    }
    if (b->high > b->most) {
        return climb(b);
    }
    if (b->low == 0) {
        return b->high - b->stride > 1 ? b->high - b->stride : 1;
    }
    return b->low + (b->high - b->low) / 2;
}

void bracket_learn(struct bracket *b, int64_t batch, bool trains) {
    b->stride = hinted(b) ? bracket_step(batch) : 2 * b->stride;
    if (trains) {
        b->low = batch;
    } else {
        b->high = batch;
    }
}
