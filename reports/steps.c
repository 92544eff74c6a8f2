/* The loss, step by step: <matrix>_steps.csv, from rank 0's events. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "matrix/event.h"
#include "reports/csv.h"
#include "reports/page.h"

// Lines that are no event are passed over: a killed worker tears its last one.
static void add_attempt(struct text *out, const struct tally *o, FILE *events) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    struct text ignored = {0};
    while ((size = getline(&line, &capacity, events)) > 0) {
        if (line[size - 1] == '\n') {
            size--;
        }
        struct event e;
        if (!strstr(line, "\"step\"") || size > EVENT_LINE_MAX ||
                !event_parse(line, (size_t)size, &e, &ignored)) {
            text_clear(&ignored);
            continue;
        }
        if (e.kind == EVENT_STEP) {
            double loss = event_real(&e, "loss", NAN);
            csv_add_field(out, true, o->cell->id);
            csv_add_field(out, false, o->cell->hash);
            csv_add_number(out, false, o->last->number);
            csv_add_number(out, false, (double)event_integer(&e, "step", -1));
            csv_add_number(out, false, loss);
            csv_add_number(out, false, exp(loss));
            csv_add_number(out, false, event_real(&e, "accuracy", NAN));
            csv_add_number(out, false, event_real(&e, "lr", NAN));
            text_add(out, "\n");
        }
        event_finish(&e);
    }
    text_finish(&ignored);
    free(line);
}

static bool flush(FILE *file, struct text *bytes) {
    bool ok = fwrite(text_get(bytes), 1, bytes->size, file) == bytes->size;
    text_clear(bytes);
    return ok;
}

// Long matrices leave hundreds of MB here: written as they are read, never held whole.
static bool write_all(const struct page *p, FILE *file) {
    struct text rows = {0};
    struct text path = {0};
    text_add(&rows, "cell,hash,attempt,step,loss,perplexity,accuracy,lr\n");
    bool ok = true;
    for (size_t i = 0; ok && i < p->tallies->count; i++) {
        const struct tally *o = p->tallies->items + i;
        if (!o->last || o->stale) {
            continue;
        }
        text_clear(&path);
        text_addf(&path, "%s/rank0.jsonl", o->last->folder);
        FILE *events = fopen(text_get(&path), "re");
        if (events) {
            add_attempt(&rows, o, events);
            fclose(events);
        }
        ok = flush(file, &rows);
    }
    text_finish(&rows);
    text_finish(&path);
    return ok;
}

bool steps_add(struct page *p, struct text *err) {
    struct text path = {0};
    text_addf(&path, "%s/", p->folder);
    page_file_name(p, "steps.csv", &path);
    struct text temporary = {0};
    text_addf(&temporary, "%s.tmp.%ld", text_get(&path), (long)getpid());
    FILE *file = fopen(text_get(&temporary), "we");
    bool ok = file != NULL;
    ok = ok && write_all(p, file);
    if (file && fclose(file)) {
        ok = false;
    }
    ok = ok && rename(text_get(&temporary), text_get(&path)) == 0;
    if (!ok) {
        text_fail(err, "cannot write '%s': %s", text_get(&path), strerror(errno));
        unlink(text_get(&temporary));
    } else {
        page_file_name(p, "steps.csv", &p->written);
        text_add(&p->written, "\n");
    }
    text_finish(&path);
    text_finish(&temporary);
    return ok;
}
