/*
 * Training data: a corpus turned into tokens, split, and cut into batches.
 *
 * A training sample is seq_len pairs (token, next token) of the training split, taken
 * in a row. Epoch e cuts the split's pairs into `windows` samples, from a seeded phase
 * on and around the end to the beginning, and deals them in a seeded order: sample i is
 * number i mod windows of epoch i ÷ windows. So no pair is seen twice in an epoch, and
 * fewer than seq_len of them, other ones each epoch, are not seen, whatever the number
 * of ranks. Rank r of w takes samples (step·accumulate + micro)·batch·w + r·batch … +
 * batch − 1 in step `step`; so what all ranks take together is one rank's on the joined
 * batch.
 */
#ifndef WORKER_DATA_H
#define WORKER_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/axes.h"
#include "matrix/text.h"

struct data; /* opaque */

enum split { SPLIT_TRAIN, SPLIT_VALID, SPLIT_TEST };

struct data_facts {
    char source[512]; /* "stories seed 1337, 1.0 MB" or the files, as given */
    char tokenizer[256];
    char digest[65];   /* SHA-256 of corpus bytes, tokenizer and split, hex */
    int64_t bytes;     /* of the corpus */
    int64_t tokens[3]; /* by enum split */
    int64_t vocab;     /* the tokenizer's */
};

/*
 * Load what `params` asks for (data, tokenizer, split; seed and seq_len for the order);
 * `root` is $LM_DATA or "". Parameter `data` is `stories`, `stories:SIZE` or
 * `stories:SIZE:SEED` (SIZE such as 500000, 4MB or 1GiB; 1 MB, seed 1337 unless said),
 * or files and globs separated by commas, joined in that order, a glob's matches in
 * byte order.
 *
 * False with one sentence where a file is missing, a glob matches nothing, the corpus
 * is too small for one window, or the tokenizer is unknown; `why` then says
 * KERNEL_UNSUPPORTED or KERNEL_OUT_OF_MEMORY (with its bytes) where it was that, else
 * KERNEL_OK. The caller owes data_destroy().
 */
bool data_create(const struct params *params, const char *root, struct data **out,
        struct kernel_error *why, struct text *err);
void data_destroy(struct data *d); /* NULL is fine */
const struct data_facts *data_facts(const struct data *d);

/* Windows an epoch has at this seq_len; of the other splits: windows that cover it. */
int64_t data_windows(const struct data *d, enum split split);

/* inputs and targets [batch, seq_len]: samples `first` … `first` + batch − 1. */
void data_training_batch(const struct data *d, int64_t first, int64_t batch,
        int32_t *inputs, int32_t *targets);

/* One rank's part in every step. */
struct data_share {
    int64_t accumulate, batch; /* micro-steps, and rows of each */
    int rank, world;
    int64_t end; /* samples there are for all ranks: epochs × windows, or INT64_MAX */
};

/* Of its accumulate × batch rows in step `step` (0 …), those before the end. */
int64_t data_share_rows(const struct data_share *s, int64_t step);

/*
 * inputs and targets [accumulate, batch, seq_len]: its rows of step `step`. Those past
 * the end, which only the last step may have, are no samples: their targets are −1.
 */
void data_training_step(const struct data *d, const struct data_share *s, int64_t step,
        int32_t *inputs, int32_t *targets);

/*
 * Evaluation windows, in text order, every token of the split once: window i covers
 * targets i·seq_len + 1 …; a short last one is padded with targets of −1. Rows past the
 * end are all −1. Returns how many targets are real.
 */
int64_t data_evaluation_batch(const struct data *d, enum split split, int64_t first,
        int64_t batch, int32_t *inputs, int32_t *targets);

#endif
