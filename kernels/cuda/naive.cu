/*
 * Attention as the textbook has it: scores, scale, mask, softmax and product, each a
 * launch of its own over whole matrices in the tensors' type. The measure of what
 * fusing is worth, so it skips nothing that causality would allow. Times: not measured
 * yet.
 */
#include "kernels/cuda/row.cuh"

/* scores [rows, pitch], in place, as in all passes */
template <class T, int LANES>
__global__ static void scale_pass(T *scores, square_rows s) {
    const int SIZE = row<T>::SIZE;
    row<T> r;
    if (!take_row<T, LANES>(&r, s)) {
        return;
    }
    T *at = scores + r.at;
    for (int p = r.lane; p < r.packs; p += LANES) {
        pack<T> x = load_pack(at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            x.at[i] = from_float<T>(to_float(x.at[i]) * s.scale);
        }
        store_pack(at + p * SIZE, x);
    }
}

/* −∞ where a query does not see a key, and behind the last key */
template <class T, int LANES>
__global__ static void mask_pass(T *scores, square_rows s) {
    const int SIZE = row<T>::SIZE;
    row<T> r;
    if (!take_row<T, LANES>(&r, s)) {
        return;
    }
    T *at = scores + r.at;
    for (int p = r.lane; p < r.packs; p += LANES) {
        pack<T> x = load_pack(at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            x.at[i] = sees(r, p * SIZE + i) ? x.at[i] : from_float<T>(-INFINITY);
        }
        store_pack(at + p * SIZE, x);
    }
}

template <class T, int LANES>
__global__ static void softmax_pass(T *scores, square_rows s) {
    const int SIZE = row<T>::SIZE;
    row<T> r;
    if (!take_row<T, LANES>(&r, s)) {
        return;
    }
    T *at = scores + r.at;
    float highest = -INFINITY, sum = 0;
    for (int p = r.lane; p < r.packs; p += LANES) {
        pack<T> x = load_pack(at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            highest = fmaxf(highest, to_float(x.at[i]));
        }
    }
    highest = row_max<LANES>(highest);
    for (int p = r.lane; p < r.packs; p += LANES) {
        pack<T> x = load_pack(at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            sum += expf(to_float(x.at[i]) - highest);
        }
    }
    float factor = 1 / row_sum<LANES>(sum);
    for (int p = r.lane; p < r.packs; p += LANES) {
        pack<T> x = load_pack(at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            x.at[i] = from_float<T>(expf(to_float(x.at[i]) - highest) * factor);
        }
        store_pack(at + p * SIZE, x);
    }
}

/* P × (dP − Σ P·dP): 0 where P is. dp [rows, pitch], in place; p alike. What lies
 * behind the last key of dp is not read. */
template <class T, int LANES>
__global__ static void gradient_pass(T *dp, const T *p_all, square_rows s) {
    const int SIZE = row<T>::SIZE;
    row<T> r;
    if (!take_row<T, LANES>(&r, s)) {
        return;
    }
    T *at = dp + r.at;
    const T *p_at = p_all + r.at;
    float mean = 0;
    for (int p = r.lane; p < r.packs; p += LANES) {
        pack<T> d = load_pack(at + p * SIZE), x = load_pack(p_at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            float product = to_float(x.at[i]) * to_float(d.at[i]);
            mean += p * SIZE + i < r.columns ? product : 0.f;
        }
    }
    mean = row_sum<LANES>(mean);
    for (int p = r.lane; p < r.packs; p += LANES) {
        pack<T> d = load_pack(at + p * SIZE), x = load_pack(p_at + p * SIZE);
#pragma unroll
        for (int i = 0; i < SIZE; i++) {
            float ds = to_float(x.at[i]) * (to_float(d.at[i]) - mean);
            d.at[i] = from_float<T>(p * SIZE + i < r.columns ? ds : 0.f);
        }
        store_pack(at + p * SIZE, d);
    }
}

static bool softmax(struct stream *stream, void *scores, const struct square_rows *rows,
        struct kernel_error *err) {
    DISPATCH(rows->type, T, ROW_LAUNCH(scale_pass, T, stream, rows, (T *)scores);
             ROW_LAUNCH(mask_pass, T, stream, rows, (T *)scores);
             ROW_LAUNCH(softmax_pass, T, stream, rows, (T *)scores));
    return cuda_launched("attention", err);
}

static bool gradient(struct stream *stream, void *dp, const void *p,
        const struct square_rows *rows, struct kernel_error *err) {
    DISPATCH(rows->type, T,
             ROW_LAUNCH(gradient_pass, T, stream, rows, (T *)dp, (const T *)p);
             ROW_LAUNCH(scale_pass, T, stream, rows, (T *)dp));
    return cuda_launched("attention", err);
}

static const struct square_steps steps = {softmax, gradient, 0};

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

extern "C" const struct attention_kernel cuda_naive = {
        "naive", plan, forward, backward};
