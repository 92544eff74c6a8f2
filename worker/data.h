/*
 * Training data: a corpus turned into tokens, split, and cut into batches.
 *
 * Sample i of training is a window of seq_len + 1 tokens: epoch e = i ÷ windows is a
 * seeded permutation of the split's windows, shifted by a seeded phase, so that every
 * token is seen once an epoch whatever the number of ranks. Rank r of w takes samples
 * (step·accumulate + micro)·batch·w + r·batch … + batch − 1.
 */
#ifndef WORKER_DATA_H
#define WORKER_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/axes.h"
#include "matrix/text.h"

struct data; /* opaque */

enum split { SPLIT_TRAIN, SPLIT_VALID, SPLIT_TEST };

struct data_facts {
    char source[512]; /* "stories seed 1337, 4.0 MB" or the files, as given */
    char tokenizer[256];
    char digest[65];   /* SHA-256 of corpus bytes, tokenizer and split, hex */
    int64_t bytes;     /* of the corpus */
    int64_t tokens[3]; /* by enum split */
    int64_t vocab;     /* the tokenizer's */
};

/*
 * Load what `params` asks for (data, tokenizer, split, seed); `root` is $LM_DATA or "".
 * One sentence where a file is missing, the corpus is too small for one window, or the
 * tokenizer is unknown. The caller owes data_destroy().
 */
bool data_create(const struct params *params, const char *root, struct data **out,
        struct text *err);
void data_destroy(struct data *d);
const struct data_facts *data_facts(const struct data *d);

/* Windows an epoch has at this seq_len. */
int64_t data_windows(const struct data *d, enum split split);

/* inputs and targets [batch, seq_len] for rank's `batch` samples from `first` on. */
void data_training_batch(const struct data *d, int64_t first, int64_t batch,
        int32_t *inputs, int32_t *targets);

/*
 * Evaluation windows, in text order, every token of the split once: window i covers
 * targets i·seq_len + 1 …; a short last one is padded with targets of −1. Rows past the
 * end are all −1. Returns how many targets are real.
 */
int64_t data_evaluation_batch(const struct data *d, enum split split, int64_t first,
        int64_t batch, int32_t *inputs, int32_t *targets);

#endif
