#include "tests/helpers/cell.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const defaults = "layers=2 d_model=32 heads=4 d_ff=64 vocab=61 "
                                    "seq_len=16 batch=2 seed=1 threads=1";

/* Ends the process: a test that cannot be set up has failed. */
static void must(bool good, const struct text *err) {
    if (!good) {
        fprintf(stderr, "a test's cell: %s\n", text_get(err));
        exit(1);
    }
}

static bool set_words(struct params *params, const char *words, struct text *err) {
    char *copy = text_copy(words), *rest = copy, *word;
    bool good = true;
    while (good && (word = strsep(&rest, " "))) {
        char *value = strchr(word, '=');
        enum param which;
        if (!*word) {
            continue;
        }
        if (!value) {
            good = text_fail(err, "'%s' is not key=value", word);
            break;
        }
        *value++ = '\0';
        good = axes_find(word, &which) ? params_set(params, which, value, err)
                                       : text_fail(err, "unknown parameter '%s'", word);
    }
    free(copy);
    return good;
}

bool cell_parse(struct params *params, const char *words, struct text *err) {
    params_init(params);
    return set_words(params, defaults, err) && set_words(params, words, err);
}

void cell_init(struct cell *c, const struct kernels *kernels, const char *words) {
    cell_init_on(c, kernels, 0, words);
}

void cell_init_on(
        struct cell *c, const struct kernels *kernels, int device, const char *words) {
    struct text err = {0};
    struct kernel_error why = {0};
    *c = (struct cell){0};
    must(cell_parse(&c->params, words, &err), &err);
    int64_t precision = params_integer(&c->params, PARAM_PRECISION);
    struct stream_options stream = {.device = device,
            .threads = engine_threads(&c->params, 1),
            .math = precision == PRECISION_TF32 ? MATH_TF32 : MATH_F32};
    if (!kernels->stream_create(&stream, &c->stream, &why)) {
        text_fail(&err, "%s", why.sentence);
        must(false, &err);
    }
    c->options = (struct engine_options){.params = &c->params,
            .vocab = params_integer(&c->params, PARAM_VOCAB),
            .batch = params_integer(&c->params, PARAM_BATCH),
            .world = 1,
            .device = device,
            .threads = stream.threads,
            .kernels = kernels,
            .stream = c->stream};
    c->tokens = c->options.batch * params_integer(&c->params, PARAM_SEQ_LEN) *
                params_integer(&c->params, PARAM_ACCUMULATE);
    c->inputs = text_allocate_zeroed((size_t)c->tokens, sizeof *c->inputs);
    c->targets = text_allocate_zeroed((size_t)c->tokens, sizeof *c->targets);
}

void cell_start(struct cell *c) {
    struct text err = {0};
    struct kernel_error why;
    must(engine_create(&c->options, &c->engine, &why, &err), &err);
}

void cell_create(struct cell *c, const struct kernels *kernels, const char *words) {
    cell_init(c, kernels, words);
    cell_start(c);
}

void cell_destroy(struct cell *c) {
    engine_destroy(c->engine);
    c->options.kernels->stream_destroy(c->stream);
    free(c->inputs);
    free(c->targets);
    *c = (struct cell){0};
}

/*
 * Sequence number n of batch `step`: x′ = 3x + 1 + n mod vocab, from a start that
 * depends on n; so the next token follows from the last two.
 */
void cell_batch(struct cell *c, int step) {
    int64_t length = params_integer(&c->params, PARAM_SEQ_LEN),
            vocab = c->options.vocab;
    int64_t rows = c->tokens / length, micro_rows = c->options.batch;
    for (int64_t row = 0; row < rows; row++) {
        // As data.h numbers samples: micro-step, then rank, then row of the batch.
        int64_t micro = row / micro_rows;
        int64_t n = ((step * (rows / micro_rows) + micro) * c->options.world +
                            c->options.rank) *
                            micro_rows +
                    row % micro_rows;
        int64_t x = (n * 7 + 3) % vocab;
        for (int64_t t = 0; t < length; t++) {
            c->inputs[row * length + t] = (int32_t)x;
            x = (3 * x + 1 + n % 5) % vocab;
            c->targets[row * length + t] = (int32_t)x;
        }
    }
}

struct engine_step cell_step(struct cell *c, int step, double lr) {
    struct text err = {0};
    struct engine_step out = {0};
    cell_batch(c, step);
    must(engine_step(c->engine, c->inputs, c->targets, lr, &err) &&
                    engine_finish_step(c->engine, &out, &err),
            &err);
    return out;
}

static int64_t count_of(const struct cell *c, int index) {
    return engine_parameters(c->engine)->items[index].count;
}

double *cell_gradient(struct cell *c, int index) {
    struct text err = {0};
    double *values = text_allocate((size_t)count_of(c, index) * sizeof *values);
    must(engine_read_gradient(c->engine, index, values, &err), &err);
    return values;
}

double *cell_parameter(struct cell *c, int index) {
    struct text err = {0};
    double *values = text_allocate((size_t)count_of(c, index) * sizeof *values);
    must(engine_read_parameter(c->engine, index, values, &err), &err);
    return values;
}

int cell_scale(struct cell *c, const char *name, double factor) {
    struct text err = {0};
    int index = parameters_find(engine_parameters(c->engine), name);
    double *values = cell_parameter(c, index);
    for (int64_t i = 0; i < count_of(c, index); i++) {
        values[i] *= factor;
    }
    must(engine_write_parameter(c->engine, index, values, &err), &err);
    free(values);
    return index;
}

double cell_distance(const double *a, const double *b, int64_t count) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return size > 0 ? sqrt(difference / size) : sqrt(difference);
}
