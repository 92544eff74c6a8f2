/*
 * The three products of a linear layer, on cuBLASLt, and a bias gradient of our own:
 * sums of dout's columns over fixed stretches of rows, then over the stretches, so that
 * their order depends on the number of rows alone. Times: not measured yet.
 */
#include <assert.h>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/gemm.h"

/* A block of sums: LANES packs wide, ROWS rows at a time. */
enum { LANES = 32, ROWS = 8 };

/* At most 128 stretches, of at least 64 rows. */
static int64_t stretch_rows(int64_t m) {
    int64_t rows = ceil_div(m, 128), least = 64;
    return rows < least ? least : rows;
}

static int64_t stretches(int64_t m) {
    return ceil_div(m, stretch_rows(m));
}

extern "C" size_t cuda_matmul_scratch(
        int64_t m, int64_t n, int64_t k, enum dtype type, int threads) {
    (void)k;
    (void)type;
    (void)threads;
    return CUDA_WORKSPACE + (size_t)(stretches(m) * n) * sizeof(float);
}

/* -- what the library is asked --------------------------------------------------- */

static struct gemm_call forward_call(
        int64_t M, int64_t N, int64_t K, enum dtype type, const void *bias) {
    struct gemm_call c = {};
    c.m = M;
    c.n = N;
    c.k = K;
    c.transpose_b = true; /* weight [N, K] */
    c.lda = K;
    c.ldb = K;
    c.ldout = N;
    c.batch = 1;
    c.type = c.out_type = type;
    c.alpha = 1;
    c.bias = bias;
    return c;
}

static struct gemm_call input_call(
        int64_t M, int64_t N, int64_t K, enum dtype type, bool accumulate) {
    struct gemm_call c = {};
    c.m = M;
    c.n = K;
    c.k = N;
    c.lda = N;
    c.ldb = K;
    c.ldout = K;
    c.batch = 1;
    c.type = c.out_type = type;
    c.alpha = 1;
    c.accumulate = accumulate;
    return c;
}

static struct gemm_call weight_call(int64_t M, int64_t N, int64_t K, enum dtype type,
        enum dtype grad, bool accumulate) {
    struct gemm_call c = {};
    c.m = N;
    c.n = K;
    c.k = M;
    c.transpose_a = true; /* dout [M, N] */
    c.lda = N;
    c.ldb = K;
    c.ldout = K;
    c.batch = 1;
    c.type = type;
    c.out_type = grad;
    c.alpha = 1;
    c.accumulate = accumulate;
    return c;
}

extern "C" bool cuda_matmul_forward(struct stream *stream, struct tensor *out,
        struct tensor *scratch, const struct tensor *x, const struct tensor *weight,
        const struct tensor *bias, struct kernel_error *err) {
    int64_t N = weight->size[0], K = weight->size[1], M = tensor_count(x) / K;
    assert(tensor_count(x) == M * K && tensor_count(out) == M * N);
    assert(x->type == weight->type && x->type == out->type);
    assert(tensor_bytes(scratch) >= CUDA_WORKSPACE);
    struct gemm_call c =
            forward_call(M, N, K, x->type, tensor_given(bias) ? bias->data : NULL);
    c.a = x->data;
    c.b = weight->data;
    c.out = out->data;
    return gemm_run(stream, &c, scratch->data, err);
}

extern "C" bool cuda_matmul_backward_input(struct stream *stream, struct tensor *dx,
        struct tensor *scratch, const struct tensor *dout, const struct tensor *weight,
        bool accumulate, struct kernel_error *err) {
    int64_t N = weight->size[0], K = weight->size[1], M = tensor_count(dout) / N;
    assert(tensor_count(dout) == M * N && tensor_count(dx) == M * K);
    assert(dout->type == weight->type && dout->type == dx->type);
    assert(tensor_bytes(scratch) >= CUDA_WORKSPACE);
    struct gemm_call c = input_call(M, N, K, dout->type, accumulate);
    c.a = dout->data;
    c.b = weight->data;
    c.out = dx->data;
    return gemm_run(stream, &c, scratch->data, err);
}

/* -- the bias gradient ----------------------------------------------------------- */

/*
 * partials[stretch, N] = sums over the stretch's rows of dout [M, N]. A thread sums
 * WIDE columns over every ROWS-th row, then the block's ROWS sums are added in order.
 */
template <class T, int WIDE>
__global__ static void column_sums(
        float *partials, const T *dout, int64_t M, int64_t N, int64_t rows) {
    __shared__ float shared[ROWS][LANES * WIDE];
    int64_t first = (int64_t)blockIdx.x * LANES * WIDE;
    int64_t column = first + threadIdx.x * WIDE;
    int64_t begin = blockIdx.y * rows, end = begin + rows < M ? begin + rows : M;
    float sums[WIDE] = {};
    if (column < N) { /* WIDE divides N */
#pragma unroll 4
        for (int64_t m = begin + threadIdx.y; m < end; m += ROWS) {
            if (WIDE == 1) {
                sums[0] += to_float(dout[m * N + column]);
            } else {
                pack<T> p = load_pack(dout + m * N + column);
#pragma unroll
                for (int i = 0; i < WIDE; i++) {
                    sums[i] += to_float(p.at[i % pack<T>::SIZE]);
                }
            }
        }
    }
#pragma unroll
    for (int i = 0; i < WIDE; i++) {
        /* A lane's columns lie LANES apart, so that banks do not clash. */
        shared[threadIdx.y][i * LANES + threadIdx.x] = sums[i];
    }
    __syncthreads();
    for (int i = threadIdx.y; i < WIDE; i += ROWS) {
        float sum = 0;
        for (int r = 0; r < ROWS; r++) {
            sum += shared[r][i * LANES + threadIdx.x];
        }
        if (column < N) {
            partials[blockIdx.y * N + column + i] = sum;
        }
    }
}

/* dbias[N] (+)= sums over partials [count, N], LANES columns a block. */
template <class T>
__global__ static void column_totals(
        T *dbias, const float *partials, int64_t count, int64_t N, bool accumulate) {
    __shared__ float shared[ROWS][LANES];
    int64_t column = (int64_t)blockIdx.x * LANES + threadIdx.x;
    float sum = 0;
    if (column < N) {
#pragma unroll 4
        for (int64_t i = threadIdx.y; i < count; i += ROWS) {
            sum += partials[i * N + column];
        }
    }
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < N) {
        float total = accumulate ? to_float(dbias[column]) : 0.f;
        for (int r = 0; r < ROWS; r++) {
            total += shared[r][threadIdx.x];
        }
        dbias[column] = from_float<T>(total);
    }
}

template <class T>
static void sum_columns(
        struct stream *stream, float *partials, const T *dout, int64_t M, int64_t N) {
    const int wide = pack<T>::SIZE;
    bool packed = N % wide == 0 && (uintptr_t)dout % 16 == 0;
    dim3 block(LANES, ROWS);
    dim3 grid(
            (unsigned)ceil_div(N, LANES * (packed ? wide : 1)), (unsigned)stretches(M));
    if (packed) {
        column_sums<T, wide><<<grid, block, 0, stream->handle>>>(
                partials, dout, M, N, stretch_rows(M));
    } else {
        column_sums<T, 1><<<grid, block, 0, stream->handle>>>(
                partials, dout, M, N, stretch_rows(M));
    }
}

static bool bias_gradient(struct stream *stream, struct tensor *dbias, float *partials,
        const struct tensor *dout, int64_t M, int64_t N, bool accumulate,
        struct kernel_error *err) {
    dim3 block(LANES, ROWS), grid((unsigned)ceil_div(N, LANES));
    DISPATCH(dout->type, T, sum_columns(stream, partials, (const T *)dout->data, M, N));
    if (!cuda_launched("matmul_backward_weight", err)) {
        return false;
    }
    DISPATCH(dbias->type, T,
            column_totals<<<grid, block, 0, stream->handle>>>(
                    (T *)dbias->data, partials, stretches(M), N, accumulate));
    return cuda_launched("matmul_backward_weight", err);
}

extern "C" bool cuda_matmul_backward_weight(struct stream *stream,
        struct tensor *dweight, struct tensor *dbias, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *x, bool accumulate,
        struct kernel_error *err) {
    int64_t N = dweight->size[0], K = dweight->size[1], M = tensor_count(x) / K;
    assert(tensor_count(x) == M * K && tensor_count(dout) == M * N);
    assert(x->type == dout->type);
    assert(tensor_bytes(scratch) >= cuda_matmul_scratch(M, N, K, x->type, 1));
    struct gemm_call c = weight_call(M, N, K, x->type, dweight->type, accumulate);
    c.a = dout->data;
    c.b = x->data;
    c.out = dweight->data;
    float *partials = (float *)((char *)scratch->data + CUDA_WORKSPACE);
    return gemm_run(stream, &c, scratch->data, err) &&
           (!tensor_given(dbias) ||
                   bias_gradient(stream, dbias, partials, dout, M, N, accumulate, err));
}

extern "C" bool cuda_matmul_tune(struct stream *stream, const struct matmul_problem *p,
        struct kernel_error *err) {
    static const char bias = 0; /* gemm_tune() looks at no address but NULL */
    struct gemm_call c = {};
    switch (p->kind) {
    case MATMUL_FORWARD:
        c = forward_call(p->m, p->n, p->k, p->type, p->bias ? &bias : NULL);
        break;
    case MATMUL_BACKWARD_INPUT:
        c = input_call(p->m, p->n, p->k, p->type, p->accumulate);
        break;
    case MATMUL_BACKWARD_WEIGHT:
        c = weight_call(p->m, p->n, p->k, p->type, p->grad, p->accumulate);
        break;
    }
    return gemm_tune(stream, &c, err);
}
