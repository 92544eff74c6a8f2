#include "runner/probes.h"

#include <stdlib.h>
#include <string.h>

#include "matrix/record.h"
#include "runner/folder.h"

#define PREFIX "probe-" /* of its folder; its batch follows */

static int64_t batch_of(const struct record *r) {
    return params_integer(&r->params, PARAM_BATCH);
}

static bool was_told(const struct probes *p, int64_t batch) {
    for (size_t i = 0; i < p->count; i++) {
        if (p->told[i] == batch) {
            return true;
        }
    }
    return false;
}

/* Read the record of the probe in `folder`, if it came to anything. */
static bool read_news(const char *folder, struct record *r) {
    struct text path = {0}, ignored = {0};
    text_addf(&path, "%s/record.json", folder);
    // What an interrupted one would have come to nobody knows.
    bool news = record_read(text_get(&path), r, &ignored) &&
                r->status != STATUS_INTERRUPTED;
    if (!news) {
        record_finish(r);
    }
    text_finish(&path);
    text_finish(&ignored);
    return news;
}

static int by_end(const void *a, const void *b) {
    const struct record *x = a, *y = b;
    return (x->ended_unix_ms > y->ended_unix_ms) -
           (x->ended_unix_ms < y->ended_unix_ms);
}

void probes_tell(struct probes *p, const char *folder, struct progress *progress) {
    char **names = folder_names(folder, PREFIX);
    size_t room = 0, count = 0;
    while (names[room]) {
        room++;
    }
    struct record *news = text_allocate_zeroed(room + 1, sizeof *news);
    struct text path = {0};
    for (char **n = names; *n; n++) {
        if (was_told(p, strtoll(*n + strlen(PREFIX), NULL, 10))) {
            continue;
        }
        text_clear(&path);
        text_addf(&path, "%s/%s", folder, *n);
        count += read_news(text_get(&path), &news[count]);
    }
    qsort(news, count, sizeof *news, by_end);
    p->told = text_reallocate(p->told, (p->count + count + 1) * sizeof *p->told);
    for (size_t i = 0; i < count; i++) {
        progress_probe(progress, &news[i]);
        p->told[p->count++] = batch_of(&news[i]);
        record_finish(&news[i]);
    }
    free(news);
    text_finish(&path);
    folder_free_names(names);
}

void probes_finish(struct probes *p) {
    free(p->told);
    *p = (struct probes){0};
}
