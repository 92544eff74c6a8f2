#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/spec.h"
#include "worker/backend.h"
#include "worker/engine.h"
#include "worker/setup.h"
#include "worker/tokenizer.h"
#include "worker/tuner.h"

struct specs {
    struct spec *items;
    size_t count;
};

static bool read_specs(FILE *in, struct specs *out, struct text *err) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    bool good = true;
    while (good && (size = getline(&line, &capacity, in)) > 0) {
        if (strspn(line, " \t\r\n") == (size_t)size) {
            continue;
        }
        out->items = text_reallocate(out->items, (out->count + 1) * sizeof *out->items);
        struct spec *spec = &out->items[out->count];
        *spec = (struct spec){0};
        good = spec_parse("standard input", line, (size_t)size, spec, err);
        out->count += good;
    }
    free(line);
    return good;
}

static enum math math_of(const struct params *p) {
    return params_integer(p, PARAM_PRECISION) == PRECISION_TF32 ? MATH_TF32 : MATH_F32;
}

/* The options of a cell's engine; where this worker lacks something, `unsupported`. */
static bool options_of(const struct params *params, struct engine_options *out,
        bool *unsupported, struct text *err) {
    struct tokenizer tokenizer;
    struct kernel_error why = {0};
    *unsupported = !setup_check(params, err);
    if (*unsupported) {
        return false;
    }
    if (!tokenizer_init(&tokenizer, params_text(params, PARAM_TOKENIZER), &why, err)) {
        *unsupported = why.kind == KERNEL_UNSUPPORTED;
        return false;
    }
    return setup_options(params, tokenizer.vocab, out, err);
}

/* False, with a sentence, where a product could not be timed. What this worker lacks is
 * passed over: such a cell says so itself when it runs. */
static bool tune_cell(const struct params *params, struct stream *stream,
        int64_t *products, struct text *err) {
    struct engine_options options;
    bool unsupported = false;
    if (params_integer(params, PARAM_TASK) != TASK_TRAIN) {
        return true;
    }
    bool good = options_of(params, &options, &unsupported, err);
    if (good) {
        options.stream = stream;
        good = engine_tune(&options, products, &unsupported, err);
    }
    return good || unsupported;
}

/* All cells of one arithmetic, through one stream, which holds one view of the table.
 */
static bool tune_math(const struct specs *specs, enum math math, const char *path,
        int64_t *products, char digest[17], struct text *err) {
    const struct kernels *k = backend_kernels();
    struct stream_options options = {.math = math, .tuning = path};
    struct stream *stream;
    struct kernel_error why = {0};
    if (!k->stream_create(&options, &stream, &why)) {
        return text_fail(err, "%s", why.sentence);
    }
    for (size_t i = 0; i < specs->count; i++) {
        struct text passed = {0};
        if (math_of(&specs->items[i].params) == math &&
                !tune_cell(&specs->items[i].params, stream, products, &passed)) {
            fprintf(stderr, "%s: tune: %s: %s\n", backend_name(), specs->items[i].cell,
                    text_get(&passed));
        }
        text_finish(&passed);
    }
    bool saved = k->tuning_save(stream, path, &why);
    k->tuning_digest(stream, digest);
    k->stream_destroy(stream);
    return saved || text_fail(err, "%s", why.sentence);
}

static bool any_of(const struct specs *specs, enum math math) {
    for (size_t i = 0; i < specs->count; i++) {
        if (math_of(&specs->items[i].params) == math) {
            return true;
        }
    }
    return false;
}

bool tuner_run(FILE *in, const char *path, FILE *out, struct text *err) {
    struct specs specs = {0};
    int64_t products = 0;
    char digest[17] = "";
    bool good = backend_kernels()->matmul_tune ||
                text_fail(err, "this worker has no algorithms to choose from");
    good = good && read_specs(in, &specs, err);
    for (int math = MATH_F32; good && math <= MATH_TF32; math++) {
        good = !any_of(&specs, math) ||
               tune_math(&specs, math, path, &products, digest, err);
    }
    if (good) {
        fprintf(out, "{\"products\": %lld, \"digest\": \"%s\"}\n", (long long)products,
                digest);
    }
    for (size_t i = 0; i < specs.count; i++) {
        spec_finish(&specs.items[i]);
    }
    free(specs.items);
    return good;
}
