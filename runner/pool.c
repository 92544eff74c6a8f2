#include "runner/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool add_gpu(struct pool *p, const char *word, int present, struct text *err) {
    char *end;
    errno = 0;
    long n = strtol(word, &end, 10);
    if (end == word || *end || errno || n < 0) {
        return text_fail(err, "--devices: found '%s', expected numbers like 0,1", word);
    }
    if (n >= present) {
        return text_fail(
                err, "--devices: there is no GPU %ld, this machine has %d", n, present);
    }
    for (int i = 0; i < p->gpu_count; i++) {
        if (p->gpus[i] == n) {
            return text_fail(err, "--devices: GPU %ld is named twice", n);
        }
    }
    p->gpus[p->gpu_count++] = (int)n;
    return true;
}

bool pool_init(struct pool *p, int places, const char *const *devices, int present,
        struct text *err) {
    size_t room = present > 0 ? (size_t)present : 1;
    *p = (struct pool){.places = places,
            .gpus = text_allocate_zeroed(room, sizeof *p->gpus),
            .busy = text_allocate_zeroed(room, sizeof *p->busy)};
    bool ok = true;
    for (int i = 0; !devices && i < present; i++) {
        p->gpus[p->gpu_count++] = i;
    }
    for (const char *const *d = devices; ok && d && *d; d++) {
        char *copy = text_copy(*d), *rest = copy, *word;
        while (ok && (word = strsep(&rest, ","))) {
            ok = add_gpu(p, word, present, err);
        }
        free(copy);
    }
    if (!ok) {
        pool_finish(p);
    }
    return ok;
}

void pool_finish(struct pool *p) {
    free(p->gpus);
    free(p->busy);
    *p = (struct pool){0};
}

bool pool_take(struct pool *p, int gpus, int first, struct pool_lease *lease) {
    int idle = 0, from = first > 0 ? first : 0;
    int to = first >= 0 && first + gpus < p->gpu_count ? first + gpus : p->gpu_count;
    *lease = (struct pool_lease){0};
    for (int i = from; i < to; i++) {
        idle += !p->busy[i];
    }
    if (p->taken >= p->places || idle < gpus) {
        return false;
    }
    p->taken++;
    lease->held = true;
    lease->gpus = text_allocate_zeroed((size_t)gpus + 1, sizeof *lease->gpus);
    for (int i = from; i < to && lease->gpu_count < gpus; i++) {
        if (!p->busy[i]) {
            p->busy[i] = true;
            lease->gpus[lease->gpu_count++] = p->gpus[i];
        }
    }
    return true;
}

void pool_give_back(struct pool *p, struct pool_lease *lease) {
    for (int k = 0; k < lease->gpu_count; k++) {
        for (int i = 0; i < p->gpu_count; i++) {
            if (p->gpus[i] == lease->gpus[k]) {
                p->busy[i] = false;
            }
        }
    }
    p->taken -= lease->held;
    free(lease->gpus);
    *lease = (struct pool_lease){0};
}

void pool_show(const struct pool_lease *lease, struct text *out) {
    for (int i = 0; i < lease->gpu_count; i++) {
        text_addf(out, "%s%d", i ? "," : "", lease->gpus[i]);
    }
}
