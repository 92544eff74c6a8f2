/*
 * Attention in three launches each way between products: scale, mask and softmax in one
 * pass over the scores, then dS in one pass. Scores are worked on in parts that stay in
 * the second-level cache. Times: not measured yet.
 */
#include "kernels/cuda/row.cuh"

/* scores [rows, pitch], in place. The row comes from the first-level cache twice. */
template <class T, int LANES>
__global__ static void softmax_pass(T *scores, square_rows s) {
    const int SIZE = row<T>::SIZE;
    row<T> r;
    if (!take_row<T, LANES>(&r, s)) {
        return;
    }
    T *at = scores + r.at;
    int first = r.low / SIZE, last = r.high / SIZE;
    float highest = -INFINITY, sum = 0;
    for (int p = first + r.lane; p <= last; p += LANES) {
        pack<T> x = load_pack(at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            float score = to_float(x.at[i]) * s.scale;
            highest = sees(r, p * SIZE + i) ? fmaxf(highest, score) : highest;
        }
    }
    highest = row_max<LANES>(highest);
    for (int p = first + r.lane; p <= last; p += LANES) {
        pack<T> x = load_pack(at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            float e = expf(to_float(x.at[i]) * s.scale - highest);
            sum += sees(r, p * SIZE + i) ? e : 0.f;
        }
    }
    float factor = 1 / row_sum<LANES>(sum);
    for (int p = r.lane; p < r.packs; p += LANES) {
        pack<T> x = {};
        if (p >= first && p <= last) {
            x = load_pack(at + p * SIZE);
#pragma unroll
            for (int i = 0; i < SIZE; i++) {
                float e = expf(to_float(x.at[i]) * s.scale - highest) * factor;
                x.at[i] = from_float<T>(sees(r, p * SIZE + i) ? e : 0.f);
            }
        }
        store_pack(at + p * SIZE, x);
    }
}

/* dS = P × (dP − Σ P·dP) × scale. dp [rows, pitch], in place; p alike */
template <class T, int LANES>
__global__ static void gradient_pass(T *dp, const T *p_all, square_rows s) {
    const int SIZE = row<T>::SIZE;
    row<T> r;
    if (!take_row<T, LANES>(&r, s)) {
        return;
    }
    T *at = dp + r.at;
    const T *p_at = p_all + r.at;
    int first = r.low / SIZE, last = r.high / SIZE;
    float mean = 0;
    for (int p = first + r.lane; p <= last; p += LANES) {
        pack<T> d = load_pack(at + p * SIZE), x = load_pack(p_at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            float product = to_float(x.at[i]) * to_float(d.at[i]);
            mean += sees(r, p * SIZE + i) ? product : 0.f;
        }
    }
    mean = row_sum<LANES>(mean);
    for (int p = r.lane; p < r.packs; p += LANES) {
        pack<T> d = {};
        if (p >= first && p <= last) {
            pack<T> x = load_pack(p_at + p * SIZE);
            d = load_pack(at + p * SIZE);
#pragma unroll
            for (int i = 0; i < SIZE; i++) {
                float ds = to_float(x.at[i]) * (to_float(d.at[i]) - mean) * s.scale;
                d.at[i] = from_float<T>(sees(r, p * SIZE + i) ? ds : 0.f);
            }
        }
        store_pack(at + p * SIZE, d);
    }
}

static bool softmax(struct stream *stream, void *scores, const struct square_rows *rows,
        struct kernel_error *err) {
    DISPATCH(rows->type, T, ROW_LAUNCH(softmax_pass, T, stream, rows, (T *)scores));
    return cuda_launched("attention", err);
}

static bool gradient(struct stream *stream, void *dp, const void *p,
        const struct square_rows *rows, struct kernel_error *err) {
    DISPATCH(rows->type, T,
            ROW_LAUNCH(gradient_pass, T, stream, rows, (T *)dp, (const T *)p));
    return cuda_launched("attention", err);
}

/* An H100 caches 50 MB, an A100 40. */
static const struct square_steps steps = {softmax, gradient, (size_t)32 << 20};

static bool plan(const struct attention_shape *shape, enum dtype type, int threads,
        struct attention_memory *out, struct kernel_error *err) {
    (void)threads;
    return square_plan(&steps, shape, type, out, err);
}

static bool forward(struct stream *stream, struct tensor *out, struct tensor *saved,
        struct tensor *scratch, const struct tensor *qkv,
        const struct attention_shape *shape, struct kernel_error *err) {
    return square_forward(&steps, stream, out, saved, scratch, qkv, shape, err);
}

static bool backward(struct stream *stream, struct tensor *dqkv, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *out, const struct tensor *qkv,
        const struct tensor *saved, const struct attention_shape *shape,
        struct kernel_error *err) {
    (void)out;
    return square_backward(&steps, stream, dqkv, scratch, dout, qkv, saved, shape, err);
}

extern "C" const struct attention_kernel cuda_fused = {
        "fused", plan, forward, backward};
