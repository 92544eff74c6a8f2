/*
 * Every backward op against central finite differences of its forward op, in double:
 * with L = Σ w·out, dL/dx from backward(dout = w) must match (L(x+h) − L(x−h)) ÷ 2h.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"

#define COUNT_MAX 4096

// What a case's forward and backward work on; a case uses what it needs.
struct bench {
    const struct kernels *k;
    struct stream *stream;
    struct kernel_error err;
    struct tensor in, in2, weight, bias, out, scratch;
    struct tensor din, din2, dweight, dbias, dout;
    struct tensor mean, rstd, sum, tokens, control;
    const struct attention_kernel *attention;
    struct attention_shape shape;
};

static double uniform(void) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53 * 2 - 1;
}

// A tensor of random doubles, four sizes of which trailing ones may be 0 for none.
static struct tensor randoms(int64_t a, int64_t b, int64_t c, int64_t d) {
    struct tensor t = {.type = DTYPE_F64, .size = {a, b, c, d}};
    while (t.rank < TENSOR_RANK_MAX && t.size[t.rank]) {
        t.rank++;
    }
    t.data = aligned_alloc(64, (tensor_bytes(&t) + 63) / 64 * 64);
    assert_non_null(t.data);
    for (int64_t i = 0; i < tensor_count(&t); i++) {
        ((double *)t.data)[i] = uniform();
    }
    return t;
}

static struct tensor like(const struct tensor *t) {
    return randoms(t->size[0], t->size[1], t->size[2], t->size[3]);
}

static struct tensor indices(int64_t rows, int64_t columns, int32_t below) {
    struct tensor t = randoms(rows, columns, 0, 0);
    for (int64_t i = 0; i < tensor_count(&t); i++) {
        ((int32_t *)t.data)[i] = (int32_t)((uniform() + 1) / 2 * below);
    }
    t.type = DTYPE_I32;
    return t;
}

static struct tensor bytes(size_t count) {
    struct tensor t = randoms((int64_t)count / 8 + 1, 0, 0, 0);
    t.type = DTYPE_U8;
    t.size[0] = (int64_t)count;
    return t;
}

static void open_bench(struct bench *b) {
    *b = (struct bench){.k = kernels_reference64()};
    struct stream_options options = {.threads = 1};
    assert_true(b->k->stream_create(&options, &b->stream, &b->err));
}

static void close_bench(struct bench *b) {
    struct tensor *all[] = {&b->in, &b->in2, &b->weight, &b->bias, &b->out, &b->scratch,
            &b->din, &b->din2, &b->dweight, &b->dbias, &b->dout, &b->mean, &b->rstd,
            &b->sum, &b->tokens, &b->control};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        free(all[i]->data);
    }
    b->k->stream_destroy(b->stream);
}

typedef bool (*forward_fn)(struct bench *b);

static double objective(struct bench *b, forward_fn forward) {
    double sum = 0;
    assert_true(forward(b));
    for (int64_t i = 0; i < tensor_count(&b->out); i++) {
        sum += ((double *)b->out.data)[i] * ((double *)b->dout.data)[i];
    }
    return sum;
}

// The gradient in `d`, from a backward already done, is that of forward to `x`.
static void check(struct bench *b, forward_fn forward, struct tensor *x,
        const struct tensor *d, const char *what) {
    double *values = x->data, largest = 0;
    assert_int_equal(tensor_count(x), tensor_count(d));
    for (int64_t i = 0; i < tensor_count(x); i++) {
        double at = values[i], h = 1e-5, got = ((double *)d->data)[i];
        values[i] = at + h;
        double up = objective(b, forward);
        values[i] = at - h;
        double down = objective(b, forward);
        values[i] = at;
        double want = (up - down) / (2 * h);
        largest = fmax(largest, fabs(want));
        if (!(fabs(got - want) <= 1e-8 + 1e-7 * fabs(want))) {
            fail_msg("%s[%lld]: backward %.12g, differences %.12g", what, (long long)i,
                    got, want);
        }
    }
    assert_true(largest > 1e-3); // A gradient of zeros would prove nothing.
}

// `d` now holds twice `once`: what an accumulating backward adds to itself.
static void check_doubled(const struct tensor *d, const double *once) {
    for (int64_t i = 0; i < tensor_count(d); i++) {
        double want = 2 * once[i];
        assert_true(fabs(((double *)d->data)[i] - want) <= 1e-12 * (1 + fabs(want)));
    }
}

static bool gelu(struct bench *b) {
    return b->k->gelu_forward(b->stream, &b->out, &b->in, &b->err);
}

static void gelu_backward_matches_differences(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b);
    b.in = randoms(37, 0, 0, 0), b.out = like(&b.in), b.dout = like(&b.in);
    for (int i = 0; i < 37; i++) {
        ((double *)b.in.data)[i] = (i - 18) * 0.35;
    }
    b.din = like(&b.in);
    assert_true(b.k->gelu_backward(b.stream, &b.din, &b.dout, &b.in, &b.err));
    check(&b, gelu, &b.in, &b.din, "gelu din");
    close_bench(&b);
}

static bool swiglu(struct bench *b) {
    return b->k->swiglu_forward(b->stream, &b->out, &b->in, &b->err);
}

static void swiglu_backward_matches_differences(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b);
    b.in = randoms(3, 22, 0, 0), b.out = randoms(3, 11, 0, 0), b.dout = like(&b.out);
    b.din = like(&b.in);
    assert_true(b.k->swiglu_backward(b.stream, &b.din, &b.dout, &b.in, &b.err));
    check(&b, swiglu, &b.in, &b.din, "swiglu dgate_up");
    // In place: the gradient may overwrite its input.
    double *kept = malloc(tensor_bytes(&b.din));
    memcpy(kept, b.din.data, tensor_bytes(&b.din));
    assert_true(b.k->swiglu_backward(b.stream, &b.in, &b.dout, &b.in, &b.err));
    assert_memory_equal(kept, b.in.data, tensor_bytes(&b.in));
    free(kept);
    close_bench(&b);
}

static bool rope(struct bench *b) {
    memcpy(b->out.data, b->in.data, tensor_bytes(&b->in));
    return b->k->rope_forward(b->stream, &b->out, 2, 1, 10000, &b->err);
}

static void rope_backward_matches_differences(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b);
    b.in = randoms(2, 5, 4, 8), b.out = like(&b.in), b.dout = like(&b.in);
    b.din = like(&b.in);
    memcpy(b.din.data, b.dout.data, tensor_bytes(&b.din));
    assert_true(b.k->rope_backward(b.stream, &b.din, 2, 1, 10000, &b.err));
    check(&b, rope, &b.in, &b.din, "rope dqkv");
    close_bench(&b);
}

static bool embedding(struct bench *b) {
    return b->k->embedding_forward(
            b->stream, &b->out, &b->tokens, &b->weight, &b->bias, &b->err);
}

static void embedding_backward_matches_differences(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b);
    int64_t B = 3, T = 5, V = 4, C = 3;
    b.tokens = indices(B, T, 4);
    b.weight = randoms(V, C, 0, 0), b.bias = randoms(T + 1, C, 0, 0);
    b.out = randoms(B, T, C, 0), b.dout = like(&b.out);
    b.dweight = like(&b.weight), b.dbias = like(&b.bias);
    b.scratch = bytes(b.k->embedding_scratch(B * T, V, C));
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        double *once = malloc(tensor_bytes(&b.dweight));
        memcpy(once, b.dweight.data, tensor_bytes(&b.dweight));
        assert_true(b.k->embedding_backward(b.stream, &b.dweight, &b.dbias, &b.scratch,
                &b.dout, &b.tokens, accumulate, &b.err));
        if (accumulate) {
            check_doubled(&b.dweight, once);
        } else {
            check(&b, embedding, &b.weight, &b.dweight, "embedding dtoken_table");
            check(&b, embedding, &b.bias, &b.dbias, "embedding dposition_table");
        }
        free(once);
    }
    close_bench(&b);
}

static bool layernorm(struct bench *b) {
    return b->k->layernorm_forward(b->stream, &b->out, &b->mean, &b->rstd, &b->sum,
            &b->in, &b->in2, &b->weight, &b->bias, &b->err);
}

static void layernorm_backward_matches_differences(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b);
    int64_t N = 4, C = 7;
    b.in = randoms(N, C, 0, 0), b.in2 = like(&b.in), b.sum = like(&b.in);
    b.weight = randoms(C, 0, 0, 0), b.bias = randoms(C, 0, 0, 0);
    b.mean = randoms(N, 0, 0, 0), b.rstd = randoms(N, 0, 0, 0);
    b.out = like(&b.in), b.dout = like(&b.in), b.din = like(&b.in);
    b.dweight = like(&b.weight), b.dbias = like(&b.bias);
    b.scratch = bytes(b.k->norm_scratch(N, C, 1));
    assert_true(layernorm(&b));
    assert_true(
            b.k->layernorm_backward(b.stream, &b.din, &b.dweight, &b.dbias, &b.scratch,
                    NULL, &b.dout, &b.sum, &b.mean, &b.rstd, &b.weight, false, &b.err));
    check(&b, layernorm, &b.in, &b.din, "layernorm dx");
    check(&b, layernorm, &b.in2, &b.din, "layernorm dx by y");
    check(&b, layernorm, &b.weight, &b.dweight, "layernorm dweight");
    check(&b, layernorm, &b.bias, &b.dbias, "layernorm dbias");
    double once[28];
    assert_true(layernorm(&b));
    memcpy(once, b.din.data, sizeof(once));
    assert_true(b.k->layernorm_backward(b.stream, &b.din, &b.dweight, &b.dbias,
            &b.scratch, &b.din, &b.dout, &b.sum, &b.mean, &b.rstd, &b.weight, true,
            &b.err));
    check_doubled(&b.din, once);
    close_bench(&b);
}

static bool rmsnorm(struct bench *b) {
    return b->k->rmsnorm_forward(b->stream, &b->out, &b->rstd, &b->sum, &b->in, &b->in2,
            &b->weight, &b->err);
}

static void rmsnorm_backward_matches_differences(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b);
    int64_t N = 4, C = 7;
    b.in = randoms(N, C, 0, 0), b.in2 = like(&b.in), b.sum = like(&b.in);
    b.weight = randoms(C, 0, 0, 0), b.rstd = randoms(N, 0, 0, 0);
    b.out = like(&b.in), b.dout = like(&b.in), b.din = like(&b.in);
    b.dweight = like(&b.weight);
    b.scratch = bytes(b.k->norm_scratch(N, C, 1));
    assert_true(rmsnorm(&b));
    assert_true(b.k->rmsnorm_backward(b.stream, &b.din, &b.dweight, &b.scratch, NULL,
            &b.dout, &b.sum, &b.rstd, &b.weight, false, &b.err));
    check(&b, rmsnorm, &b.in, &b.din, "rmsnorm dx");
    check(&b, rmsnorm, &b.weight, &b.dweight, "rmsnorm dweight");
    close_bench(&b);
}

static bool matmul(struct bench *b) {
    return b->k->matmul_forward(
            b->stream, &b->out, &b->scratch, &b->in, &b->weight, &b->bias, &b->err);
}

static void matmul_backward_matches_differences(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b);
    int64_t M = 5, N = 4, K = 6;
    b.in = randoms(M, K, 0, 0), b.weight = randoms(N, K, 0, 0);
    b.bias = randoms(N, 0, 0, 0), b.out = randoms(M, N, 0, 0), b.dout = like(&b.out);
    b.din = like(&b.in), b.dweight = like(&b.weight), b.dbias = like(&b.bias);
    b.scratch = bytes(b.k->matmul_scratch(M, N, K, DTYPE_F64, 1));
    assert_true(b.k->matmul_backward_input(
            b.stream, &b.din, &b.scratch, &b.dout, &b.weight, false, &b.err));
    assert_true(b.k->matmul_backward_weight(
            b.stream, &b.dweight, &b.dbias, &b.scratch, &b.dout, &b.in, false, &b.err));
    check(&b, matmul, &b.in, &b.din, "matmul dx");
    check(&b, matmul, &b.weight, &b.dweight, "matmul dweight");
    check(&b, matmul, &b.bias, &b.dbias, "matmul dbias");
    close_bench(&b);
}

static bool attention(struct bench *b) {
    return b->attention->forward(
            b->stream, &b->out, NULL, &b->scratch, &b->in, &b->shape, &b->err);
}

static void check_attention(int64_t T, int64_t H, int64_t G, int64_t window) {
    struct bench b;
    struct attention_memory memory;
    open_bench(&b);
    b.attention = b.k->attention("naive");
    b.shape = (struct attention_shape){.batch = 2,
            .seq_len = T,
            .heads = H,
            .kv_heads = G,
            .head_dim = 8,
            .window = window};
    b.in = randoms(2, T, H + 2 * G, 8), b.din = like(&b.in);
    b.out = randoms(2, T, H, 8), b.dout = like(&b.out);
    assert_true(b.attention->plan(&b.shape, DTYPE_F64, 1, &memory, &b.err));
    b.scratch = bytes(memory.forward_scratch + memory.backward_scratch);
    assert_true(attention(&b));
    assert_true(b.attention->backward(b.stream, &b.din, &b.scratch, &b.dout, &b.out,
            &b.in, NULL, &b.shape, &b.err));
    check(&b, attention, &b.in, &b.din, "attention dqkv");
    close_bench(&b);
}

static void attention_backward_matches_differences(void **state) {
    (void)state;
    check_attention(5, 2, 2, 0);
}

static void windowed_attention_backward_matches_differences(void **state) {
    (void)state;
    check_attention(6, 2, 2, 3);
    check_attention(4, 1, 1, 4); // A window as long as the sequence is no window.
}

static void grouped_attention_backward_matches_differences(void **state) {
    (void)state;
    check_attention(5, 4, 2, 0);
    check_attention(5, 3, 1, 2);
    check_attention(1, 2, 1, 0);
}

static bool loss(struct bench *b) {
    struct tensor correct = b->bias;
    return b->k->classifier(b->stream, &b->out, &correct, &b->in, &b->tokens, NULL, 5,
            false, 0, &b->err);
}

static void classifier_gradient_matches_differences(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b);
    int64_t N = 4, V = 8; // 5 real columns, 3 of padding
    b.in = randoms(N, V, 0, 0), b.din = like(&b.in), b.tokens = indices(N, 1, 5);
    ((int32_t *)b.tokens.data)[2] = -1;
    b.out = randoms(N, 0, 0, 0), b.dout = like(&b.out), b.bias = like(&b.out);
    b.control = randoms(CONTROL_COUNT, 0, 0, 0);
    ((double *)b.control.data)[CONTROL_LOSS_SCALE] = 8;
    for (int64_t n = 0; n < N; n++) {
        ((double *)b.dout.data)[n] = 2; // factor × loss scale
    }
    memcpy(b.din.data, b.in.data, tensor_bytes(&b.in));
    assert_true(b.k->classifier(b.stream, &b.out, &b.bias, &b.din, &b.tokens,
            &b.control, 5, true, 0.25f, &b.err));
    check(&b, loss, &b.in, &b.din, "classifier dlogits");
    for (int64_t v = 0; v < V; v++) {
        assert_true(((double *)b.din.data)[2 * V + v] == 0);
    }
    close_bench(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(gelu_backward_matches_differences),
            cmocka_unit_test(swiglu_backward_matches_differences),
            cmocka_unit_test(rope_backward_matches_differences),
            cmocka_unit_test(embedding_backward_matches_differences),
            cmocka_unit_test(layernorm_backward_matches_differences),
            cmocka_unit_test(rmsnorm_backward_matches_differences),
            cmocka_unit_test(matmul_backward_matches_differences),
            cmocka_unit_test(attention_backward_matches_differences),
            cmocka_unit_test(windowed_attention_backward_matches_differences),
            cmocka_unit_test(grouped_attention_backward_matches_differences),
            cmocka_unit_test(classifier_gradient_matches_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
