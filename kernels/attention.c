// Causal attention of one head over T tokens: S = scale·Q·Kᵀ, P = softmax(S), O = P·V.
// Token i sees j from max(0, i − window + 1) to i. One head's scores at a time.
#include <math.h>
#include <string.h>

#include "kernels/reference.h"

static bool plan(const struct attention_shape *shape, enum dtype type, int threads,
        struct attention_memory *out, struct kernel_error *err) {
    (void)err;
    (void)type;
    (void)threads;
    size_t T = (size_t)shape->seq_len, D = (size_t)shape->head_dim;
    *out = (struct attention_memory){
            .saved = 0,
            .forward_scratch = T * sizeof(double),
            .backward_scratch = 2 * (T + T * D) * sizeof(double),
    };
    return true;
}

// Where head `head` (of all H + 2G) of token t starts in qkv.
static int64_t packed(
        const struct attention_shape *s, int64_t b, int64_t t, int64_t head) {
    return ((b * s->seq_len + t) * (s->heads + 2 * s->kv_heads) + head) * s->head_dim;
}

static double dot(const struct stream *stream, const struct tensor *a, int64_t at_a,
        const struct tensor *b, int64_t at_b, int64_t D) {
    double sum = 0;
    for (int64_t d = 0; d < D; d++) {
        sum += (double)load_operand(stream, a, at_a + d) *
               load_operand(stream, b, at_b + d);
    }
    return sum;
}

static int64_t first_seen(const struct attention_shape *s, int64_t i) {
    return s->window > 0 && i >= s->window ? i - s->window + 1 : 0;
}

// p[j] = probability of key j for query i of head h, for the keys it sees.
static void probabilities(const struct stream *stream, double *p,
        const struct tensor *qkv, const struct attention_shape *s, int64_t b, int64_t h,
        int64_t i) {
    int64_t key = s->heads + h / (s->heads / s->kv_heads), D = s->head_dim;
    double highest = -INFINITY, sum = 0;
    for (int64_t j = first_seen(s, i); j <= i; j++) {
        p[j] = dot(stream, qkv, packed(s, b, i, h), qkv, packed(s, b, j, key), D) /
               sqrt((double)D);
        highest = fmax(highest, p[j]);
    }
    for (int64_t j = first_seen(s, i); j <= i; j++) {
        p[j] = exp(p[j] - highest);
        sum += p[j];
    }
    for (int64_t j = first_seen(s, i); j <= i; j++) {
        p[j] /= sum;
    }
}

static bool forward(struct stream *stream, struct tensor *out, struct tensor *saved,
        struct tensor *scratch, const struct tensor *qkv,
        const struct attention_shape *s, struct kernel_error *err) {
    (void)saved;
    (void)err;
    int64_t H = s->heads, G = s->kv_heads, T = s->seq_len, D = s->head_dim;
    double *p = scratch->data;
    assert(H % G == 0 && tensor_count(out) == s->batch * T * H * D);
    for (int64_t row = 0; row < s->batch * T * H; row++) {
        int64_t b = row / (T * H), i = row / H % T, h = row % H;
        int64_t value = H + G + h / (H / G);
        probabilities(stream, p, qkv, s, b, h, i);
        for (int64_t d = 0; d < D; d++) {
            double sum = 0;
            for (int64_t j = first_seen(s, i); j <= i; j++) {
                sum += p[j] * load_operand(stream, qkv, packed(s, b, j, value) + d);
            }
            store(out, row * D + d, sum);
        }
    }
    return true;
}

// Query row i of head h: its dQ, and what it adds to its group's dK and dV.
static void backward_row(struct stream *stream, struct tensor *dqkv, double *p,
        double *dk, double *dv, const struct tensor *dout, const struct tensor *qkv,
        const struct attention_shape *s, int64_t b, int64_t h, int64_t i) {
    int64_t H = s->heads, T = s->seq_len, D = s->head_dim;
    int64_t key = H + h / (H / s->kv_heads), value = key + s->kv_heads;
    int64_t at_out = ((b * T + i) * H + h) * D, at_q = packed(s, b, i, h);
    double *ds = p + T, mean = 0; // mean: Σ p·dP, the softmax's projection
    probabilities(stream, p, qkv, s, b, h, i);
    for (int64_t j = first_seen(s, i); j <= i; j++) {
        ds[j] = dot(stream, dout, at_out, qkv, packed(s, b, j, value), D);
        mean += p[j] * ds[j];
    }
    for (int64_t j = first_seen(s, i); j <= i; j++) {
        ds[j] = p[j] * (ds[j] - mean) / sqrt((double)D);
    }
    for (int64_t d = 0; d < D; d++) {
        double dq = 0, q = load_operand(stream, qkv, at_q + d);
        double o = load_operand(stream, dout, at_out + d);
        for (int64_t j = first_seen(s, i); j <= i; j++) {
            dq += ds[j] * load_operand(stream, qkv, packed(s, b, j, key) + d);
            dk[j * D + d] += ds[j] * q;
            dv[j * D + d] += p[j] * o;
        }
        store(dqkv, at_q + d, dq);
    }
}

static bool backward(struct stream *stream, struct tensor *dqkv, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *out, const struct tensor *qkv,
        const struct tensor *saved, const struct attention_shape *s,
        struct kernel_error *err) {
    (void)out;
    (void)saved;
    (void)err;
    int64_t H = s->heads, G = s->kv_heads, T = s->seq_len, D = s->head_dim;
    double *p = scratch->data, *dk = p + 2 * T, *dv = dk + T * D;
    for (int64_t bg = 0; bg < s->batch * G; bg++) {
        int64_t b = bg / G, g = bg % G;
        memset(dk, 0, 2 * (size_t)(T * D) * sizeof(*dk));
        for (int64_t hi = 0; hi < H / G * T; hi++) {
            backward_row(stream, dqkv, p, dk, dv, dout, qkv, s, b, g * (H / G) + hi / T,
                    hi % T);
        }
        for (int64_t td = 0; td < T * D; td++) {
            store(dqkv, packed(s, b, td / D, H + g) + td % D, dk[td]);
            store(dqkv, packed(s, b, td / D, H + G + g) + td % D, dv[td]);
        }
    }
    return true;
}

// One reference stands behind every name: they differ in how, not in what.
static const struct attention_kernel attentions[] = {
        {"naive", plan, forward, backward},
        {"fused", plan, forward, backward},
        {"flash", plan, forward, backward},
};

const struct attention_kernel *REF(attention)(const char *name) {
    for (size_t i = 0; i < sizeof(attentions) / sizeof(*attentions); i++) {
        if (strcmp(attentions[i].name, name) == 0) {
            return &attentions[i];
        }
    }
    return NULL;
}
