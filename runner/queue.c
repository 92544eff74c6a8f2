#include "runner/queue.h"

#include <stdlib.h>

bool queue_init(struct queue *q, const struct matrices *m, const struct store *s,
        const char *out, struct text *err) {
    struct text folder = {0};
    bool ok = true, known = true;
    *q = (struct queue){0};
    q->cells = text_allocate_zeroed(m->cells.count + 1, sizeof *q->cells);
    for (size_t d = 0; ok && d < m->count; d++) {
        if (matrices_runs(m, d)) {
            matrices_folder(out, document_name(m->documents[d]), &folder);
            ok = store_repair(s, text_get(&folder), err);
        }
    }
    for (size_t i = 0; ok && i < m->cells.count; i++) {
        const struct cell *cell = &m->cells.items[i];
        if (!cell->selected || cell->excluded) {
            continue;
        }
        struct queue_cell *c = &q->cells[q->count];
        c->cell = cell;
        matrices_folder(out, cell->matrix, &folder);
        ok = store_look(s, text_get(&folder), cell, true, &c->has, err);
        if (!ok) {
            break;
        }
        q->count++;
        q->live += c->has.live;
        c->left = c->has.live ? 0 : c->has.needed;
        q->total += c->left;
        known = known && (c->left == 0 || c->has.expected_ms >= 0);
        q->expected_ms += c->left * c->has.expected_ms;
    }
    q->expected_ms = known ? q->expected_ms : -1;
    text_finish(&folder);
    if (!ok) {
        queue_finish(q);
    }
    return ok;
}

void queue_finish(struct queue *q) {
    free(q->cells);
    *q = (struct queue){0};
}

/* A cell belongs to the round in which its last attempts meet everyone else's. */
static bool due(const struct queue *q, const struct queue_cell *c) {
    return c->left > 0 && !c->busy && c->round <= q->round;
}

struct queue_cell *queue_next(struct queue *q) {
    for (; q->at < q->count; q->at++) {
        struct queue_cell *c = &q->cells[q->at];
        if (due(q, c)) {
            c->left--;
            c->round++;
            c->busy = true;
            q->at++;
            return c;
        }
    }
    // The next round starts when this one has been handed out.
    bool more = false;
    for (size_t i = 0; i < q->count; i++) {
        more = more || (q->cells[i].left > 0 && !q->cells[i].busy);
    }
    if (!more) {
        return NULL;
    }
    q->at = 0;
    q->round++;
    return queue_next(q);
}

void queue_put_back(struct queue *q, struct queue_cell *c) {
    c->left++;
    c->round--;
    c->busy = false;
    q->at = (size_t)(c - q->cells);
}

void queue_done(struct queue_cell *c) {
    c->busy = false;
}

bool queue_is_empty(const struct queue *q) {
    for (size_t i = 0; i < q->count; i++) {
        if (q->cells[i].left > 0) {
            return false;
        }
    }
    return true;
}
