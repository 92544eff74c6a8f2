#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/corpus.h"
#include "worker/data.h"
#include "worker/tokenizer.h"

struct data {
    struct data_facts facts;
    uint16_t *tokens;
    int64_t starts[4]; // split s is tokens [starts[s], starts[s + 1])
    int64_t seq_len, windows;
    uint64_t seed;
};

/* splitmix64's finish: every bit of x matters to every bit of the result. */
static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/*
 * Where `i` of 0 … n − 1 goes in the permutation that `key` picks: a Feistel network
 * over the next power of four, walked until it lands below n. No table to keep.
 */
static uint64_t permute(uint64_t i, uint64_t n, uint64_t key) {
    int half = 1;
    while (half < 31 && (uint64_t)1 << 2 * half < n) {
        half++;
    }
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < 6; round++) {
            uint64_t old = right;
            right = left ^ (mix(right ^ mix(key + round)) & mask);
            left = old;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

/* "85/10/5" as shares that add up to 100. */
static bool parse_split(const char *s, double shares[3], struct text *err) {
    char *end = (char *)s;
    double sum = 0;
    bool good = true;
    for (int i = 0; good && i < 3; i++) {
        const char *start = end + (i > 0);
        shares[i] = strtod(start, &end);
        good = end != start && shares[i] >= 0 && *end == (i < 2 ? '/' : '\0');
        sum += shares[i];
    }
    if (!good || !(sum > 99.999 && sum < 100.001) || !(shares[0] > 0)) {
        return text_fail(err,
                "split '%s': expected three percentages that add up to "
                "100, such as 85/10/5",
                s);
    }
    return true;
}

static void digest(const struct corpus *corpus, const char *tokenizer,
        const char *split, char out[65]) {
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) &&
                EVP_DigestUpdate(context, corpus->bytes, corpus->size) &&
                EVP_DigestUpdate(context, tokenizer, strlen(tokenizer) + 1) &&
                EVP_DigestUpdate(context, split, strlen(split) + 1) &&
                EVP_DigestFinal_ex(context, hash, &size);
    EVP_MD_CTX_free(context);
    out[0] = '\0'; // unknown, where libcrypto has no SHA-256
    for (unsigned i = 0; done && i < size; i++) {
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
    }
}

/* Cut the tokens and see that training has something to work with. */
static bool cut(struct data *d, int64_t count, const char *split,
        const double shares[3], struct text *err) {
    d->starts[1] = (int64_t)((double)count * shares[0] / 100 + 0.5);
    d->starts[2] = (int64_t)((double)count * (shares[0] + shares[1]) / 100 + 0.5);
    d->starts[3] = count;
    for (int s = 0; s < 3; s++) {
        d->facts.tokens[s] = d->starts[s + 1] - d->starts[s];
    }
    d->windows = (d->facts.tokens[SPLIT_TRAIN] - 1) / d->seq_len;
    if (d->facts.tokens[SPLIT_TRAIN] <= d->seq_len) {
        return text_fail(err,
                "data '%s' is too small: split %s leaves %lld tokens to train on, and "
                "seq_len %lld needs at least %lld",
                d->facts.source, split, (long long)d->facts.tokens[SPLIT_TRAIN],
                (long long)d->seq_len, (long long)d->seq_len + 1);
    }
    return true;
}

bool data_create(const struct params *params, const char *root, struct data **out,
        struct kernel_error *why, struct text *err) {
    *why = (struct kernel_error){0};
    const char *split = params_text(params, PARAM_SPLIT);
    double shares[3];
    struct tokenizer tokenizer;
    struct corpus corpus;
    if (!parse_split(split, shares, err) ||
            !tokenizer_init(
                    &tokenizer, params_text(params, PARAM_TOKENIZER), why, err) ||
            !corpus_init(&corpus, params_text(params, PARAM_DATA), root, why, err)) {
        return false;
    }
    struct data *d = text_allocate_zeroed(1, sizeof *d);
    d->seq_len = params_integer(params, PARAM_SEQ_LEN);
    d->seed = (uint64_t)params_integer(params, PARAM_SEED);
    if (!corpus_allocate((void **)&d->tokens, corpus.size * sizeof *d->tokens, "tokens",
                why, err)) {
        goto fail;
    }
    int64_t count = tokenizer_encode(&tokenizer, corpus.bytes, corpus.size, d->tokens);
    memcpy(d->facts.source, corpus.source, sizeof d->facts.source);
    memcpy(d->facts.tokenizer, tokenizer.name, sizeof d->facts.tokenizer);
    digest(&corpus, tokenizer.name, split, d->facts.digest);
    d->facts.bytes = (int64_t)corpus.size;
    d->facts.vocab = tokenizer.vocab;
    if (!cut(d, count, split, shares, err)) {
        goto fail;
    }
    corpus_finish(&corpus);
    *out = d;
    return true;
fail:
    corpus_finish(&corpus);
    data_destroy(d);
    return false;
}

void data_destroy(struct data *d) {
    if (d) {
        free(d->tokens);
        free(d);
    }
}

const struct data_facts *data_facts(const struct data *d) {
    return &d->facts;
}

int64_t data_windows(const struct data *d, enum split split) {
    if (split == SPLIT_TRAIN) {
        return d->windows;
    }
    int64_t targets = d->facts.tokens[split] - 1;
    return targets > 0 ? (targets + d->seq_len - 1) / d->seq_len : 0;
}

void data_training_batch(const struct data *d, int64_t first, int64_t batch,
        int32_t *inputs, int32_t *targets) {
    const uint16_t *tokens = d->tokens + d->starts[SPLIT_TRAIN];
    int64_t pairs = d->facts.tokens[SPLIT_TRAIN] - 1;
    for (int64_t b = 0; b < batch; b++) {
        uint64_t epoch = (uint64_t)((first + b) / d->windows);
        uint64_t key = mix(d->seed ^ mix(epoch));
        int64_t phase = (int64_t)(mix(key) % (uint64_t)pairs);
        int64_t window = (int64_t)permute(
                (uint64_t)((first + b) % d->windows), (uint64_t)d->windows, key);
        int64_t at = (phase + window * d->seq_len) % pairs;
        for (int64_t t = 0; t < d->seq_len; t++) {
            inputs[b * d->seq_len + t] = tokens[at];
            targets[b * d->seq_len + t] = tokens[at + 1];
            at = at + 1 == pairs ? 0 : at + 1;
        }
    }
}

/* The first sample of a rank's micro-step. */
static int64_t first_sample(const struct data_share *s, int64_t step, int64_t micro) {
    return ((step * s->accumulate + micro) * s->world + s->rank) * s->batch;
}

/* Of the batch that begins with sample `first`. */
static int64_t rows_before_end(const struct data_share *s, int64_t first) {
    int64_t left = s->end - first;
    return left < 0 ? 0 : left < s->batch ? left : s->batch;
}

int64_t data_share_rows(const struct data_share *s, int64_t step) {
    int64_t rows = 0;
    for (int64_t micro = 0; micro < s->accumulate; micro++) {
        rows += rows_before_end(s, first_sample(s, step, micro));
    }
    return rows;
}

void data_training_step(const struct data *d, const struct data_share *s, int64_t step,
        int32_t *inputs, int32_t *targets) {
    int64_t size = s->batch * d->seq_len;
    for (int64_t micro = 0; micro < s->accumulate; micro++) {
        int64_t first = first_sample(s, step, micro), at = micro * size;
        int64_t real = rows_before_end(s, first);
        data_training_batch(d, first, real, inputs + at, targets + at);
        for (int64_t i = at + real * d->seq_len; i < at + size; i++) {
            inputs[i] = 0;
            targets[i] = -1;
        }
    }
}

int64_t data_evaluation_batch(const struct data *d, enum split split, int64_t first,
        int64_t batch, int32_t *inputs, int32_t *targets) {
    const uint16_t *tokens = d->tokens + d->starts[split];
    int64_t pairs = d->facts.tokens[split] - 1, real = 0;
    for (int64_t i = 0; i < batch * d->seq_len; i++) {
        int64_t at = first * d->seq_len + i;
        inputs[i] = at < pairs ? tokens[at] : 0;
        targets[i] = at < pairs ? tokens[at + 1] : -1;
        real += at < pairs;
    }
    return real;
}
