#include "worker/timeline.h"

#include <stdlib.h>

void timeline_init(
        struct timeline *t, const struct kernels *kernels, struct stream *stream) {
    *t = (struct timeline){.kernels = kernels, .stream = stream};
}

void timeline_finish(struct timeline *t) {
    for (int i = 0; i < t->count; i++) {
        t->kernels->event_destroy(t->marks[i].event);
    }
    free(t->marks);
    *t = (struct timeline){0};
}

bool timeline_mark(struct timeline *t, int phase, struct text *err) {
    struct kernel_error why = {0};
    if (!t->of_op && t->count && t->marks[t->count - 1].phase == phase) {
        return true;
    }
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 16;
        t->marks = text_reallocate(t->marks, (size_t)t->capacity * sizeof *t->marks);
    }
    struct timeline_mark *mark = &t->marks[t->count];
    mark->phase = phase;
    if (!t->kernels->event_create(t->stream, &mark->event, &why)) {
        return text_fail(err, "cannot create an event: %s", why.sentence);
    }
    t->count++;
    return t->kernels->event_mark(t->stream, mark->event, &why) ||
           text_fail(err, "cannot record an event: %s", why.sentence);
}

bool timeline_mark_op(struct timeline *t, int index, int phase, struct text *err) {
    return timeline_mark(t, t->of_op ? t->of_op[index] : phase, err);
}

bool timeline_mark_again(struct timeline *t, struct text *err) {
    struct kernel_error why = {0};
    return t->kernels->event_mark(t->stream, t->marks[0].event, &why) ||
           text_fail(err, "cannot record an event: %s", why.sentence);
}

bool timeline_read(struct timeline *t, double *sums, struct text *err) {
    struct kernel_error why = {0};
    bool good = t->kernels->stream_synchronize(t->stream, &why);
    for (int i = 0; good && i + 1 < t->count; i++) {
        double ms = 0;
        good = t->kernels->event_elapsed_ms(
                t->marks[i].event, t->marks[i + 1].event, &ms, &why);
        sums[t->marks[i].phase] += ms;
    }
    return good || text_fail(err, "cannot read events: %s", why.sentence);
}
