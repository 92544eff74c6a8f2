#include "kernels/cuda/product.h"

#include <assert.h>
#include <string.h>

bool product_done(cublasStatus_t status, const char *what, struct kernel_error *err) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return true;
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return kernel_fail(
                err, KERNEL_UNSUPPORTED, "%s: cuBLASLt does not do it", what);
    case CUBLAS_STATUS_ALLOC_FAILED:
        return kernel_fail(
                err, KERNEL_OUT_OF_MEMORY, "%s: cuBLASLt was refused memory", what);
    default:
        return kernel_fail(err, KERNEL_DEVICE_FAULT, "%s: %s (%s)", what,
                cublasLtGetStatusString(status), cublasLtGetStatusName(status));
    }
}

static int64_t alignment(const void *pointer) {
    uintptr_t address = (uintptr_t)pointer;
    int64_t bytes = 16;
    while (address % (uintptr_t)bytes) {
        bytes /= 2;
    }
    return bytes;
}

struct algorithm_key product_key(const struct gemm_call *c, enum math math) {
    struct algorithm_key key;
    bool batch = c->batch > 1;
    memset(&key, 0, sizeof(key));
    key.m = c->m;
    key.n = c->n;
    key.k = c->k;
    key.lda = c->lda;
    key.ldb = c->ldb;
    key.ldout = c->ldout;
    key.batch = c->batch;
    key.stride_a = batch ? c->stride_a : 0;
    key.stride_b = batch ? c->stride_b : 0;
    key.stride_out = batch ? c->stride_out : 0;
    key.transpose_a = c->transpose_a;
    key.transpose_b = c->transpose_b;
    key.bias = c->bias != NULL;
    key.accumulate = c->accumulate;
    key.align_a = alignment(c->a);
    key.align_b = alignment(c->b);
    key.align_out = alignment(c->out);
    key.align_bias = c->bias ? alignment(c->bias) : 0;
    key.workspace = (int64_t)PRODUCT_WORKSPACE;
    key.type = c->type;
    key.out_type = c->out_type;
    key.tf32 = math == MATH_TF32 && c->type == DTYPE_F32;
    return key;
}

static cudaDataType_t library_type(int64_t type) {
    return type == DTYPE_BF16  ? CUDA_R_16BF
           : type == DTYPE_F16 ? CUDA_R_16F
                               : CUDA_R_32F;
}

static cublasStatus_t set_operation(cublasLtMatmulDesc_t operation,
        cublasLtMatmulDescAttributes_t name, int32_t value) {
    return cublasLtMatmulDescSetAttribute(operation, name, &value, sizeof(value));
}

// A row-major [rows, columns]: to the library, [columns, rows].
static cublasStatus_t layout(cublasLtMatrixLayout_t *out, int64_t type, int64_t rows,
        int64_t columns, int64_t ld, int64_t batch, int64_t stride) {
    int32_t count = (int32_t)batch;
    assert(batch >= 1 && batch <= INT32_MAX && ld >= columns);
    cublasStatus_t status = cublasLtMatrixLayoutCreate(
            out, library_type(type), (uint64_t)columns, (uint64_t)rows, ld);
    if (!status && batch > 1) {
        status = cublasLtMatrixLayoutSetAttribute(
                *out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count));
    }
    if (!status && batch > 1) {
        status = cublasLtMatrixLayoutSetAttribute(*out,
                CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof(stride));
    }
    return status;
}

static cublasStatus_t describe(struct product *p, bool bias) {
    const struct algorithm_key *k = &p->key;
    cublasStatus_t status = cublasLtMatmulDescCreate(&p->operation,
            k->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!status) {
        status = set_operation(p->operation, CUBLASLT_MATMUL_DESC_TRANSA,
                k->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    }
    if (!status) {
        status = set_operation(p->operation, CUBLASLT_MATMUL_DESC_TRANSB,
                k->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    }
    if (!status && bias) {
        status = set_operation(
                p->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    }
    if (!status) {
        status = layout(&p->a, k->type, k->transpose_a ? k->k : k->m,
                k->transpose_a ? k->m : k->k, k->lda, k->batch, k->stride_a);
    }
    if (!status) {
        status = layout(&p->b, k->type, k->transpose_b ? k->n : k->k,
                k->transpose_b ? k->k : k->n, k->ldb, k->batch, k->stride_b);
    }
    if (!status) {
        status = layout(
                &p->out, k->out_type, k->m, k->n, k->ldout, k->batch, k->stride_out);
    }
    return status;
}

bool product_init(struct product *p, const struct algorithm_key *key, bool bias_before,
        struct kernel_error *err) {
    assert(!key->bias || (key->batch == 1 && key->out_type == key->type));
    *p = (struct product){.key = *key, .bias_before = bias_before};
    cublasStatus_t status = describe(p, key->bias && !bias_before);
    if (!product_done(status, "describing a matrix product", err)) {
        product_finish(p);
        return false;
    }
    return true;
}

void product_finish(struct product *p) {
    if (p->operation) {
        (void)cublasLtMatmulDescDestroy(p->operation);
    }
    if (p->a) {
        (void)cublasLtMatrixLayoutDestroy(p->a);
    }
    if (p->b) {
        (void)cublasLtMatrixLayoutDestroy(p->b);
    }
    if (p->out) {
        (void)cublasLtMatrixLayoutDestroy(p->out);
    }
    *p = (struct product){0};
}

static cublasStatus_t prefer(cublasLtMatmulPreference_t preference,
        cublasLtMatmulPreferenceAttributes_t name, int64_t value) {
    uint32_t narrow = (uint32_t)value;
    return cublasLtMatmulPreferenceSetAttribute(
            preference, name, &narrow, sizeof(narrow));
}

static cublasStatus_t prefer_all(
        cublasLtMatmulPreference_t preference, const struct algorithm_key *k) {
    uint64_t workspace = (uint64_t)k->workspace;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        int64_t value;
    } settings[] = {
            // Parts of a split sum may only be kept in fp32 and added in order.
            {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                    CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE},
            {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, k->align_b},
            {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, k->align_a},
            {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, k->align_out},
            {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, k->align_out},
    };
    cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(preference,
            CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof(workspace));
    for (size_t i = 0; !status && i < sizeof(settings) / sizeof(*settings); i++) {
        status = prefer(preference, settings[i].name, settings[i].value);
    }
    return status;
}

// The address of a bias tells the heuristic its alignment; NULL where there is none.
static cublasStatus_t set_bias(const struct product *p, const void *bias) {
    if (!p->key.bias || p->bias_before) {
        return CUBLAS_STATUS_SUCCESS;
    }
    return cublasLtMatmulDescSetAttribute(
            p->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias));
}

// Whether the parts of a split sum are kept in fp32 and added in one order.
static bool is_ordered(const cublasLtMatmulAlgo_t *algorithm) {
    uint32_t scheme = 0;
    size_t written = 0;
    return !cublasLtMatmulAlgoConfigGetAttribute(algorithm,
                   CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof(scheme),
                   &written) &&
           (scheme == CUBLASLT_REDUCTION_SCHEME_NONE ||
                   scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
}

bool product_allows(const struct product *p, cublasLtHandle_t handle,
        const cublasLtMatmulAlgo_t *algorithm) {
    cublasLtMatmulHeuristicResult_t result;
    return !set_bias(p, (const void *)(uintptr_t)p->key.align_bias) &&
           !cublasLtMatmulAlgoCheck(handle, p->operation, p->b, p->a, p->out, p->out,
                   algorithm, &result) &&
           result.workspaceSize <= (size_t)p->key.workspace && is_ordered(algorithm);
}

static cublasStatus_t ask(const struct product *p, cublasLtHandle_t handle,
        cublasLtMatmulHeuristicResult_t found[PRODUCT_CANDIDATES], int *count) {
    cublasLtMatmulPreference_t preference = NULL;
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&preference);
    if (status) {
        return status;
    }
    status = prefer_all(preference, &p->key);
    if (!status) {
        status = set_bias(p, (const void *)(uintptr_t)p->key.align_bias);
    }
    if (!status) {
        status = cublasLtMatmulAlgoGetHeuristic(handle, p->operation, p->b, p->a,
                p->out, p->out, preference, PRODUCT_CANDIDATES, found, count);
    }
    (void)cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

bool product_candidates(const struct product *p, cublasLtHandle_t handle,
        cublasLtMatmulAlgo_t out[PRODUCT_CANDIDATES], int *count,
        struct kernel_error *err) {
    cublasLtMatmulHeuristicResult_t found[PRODUCT_CANDIDATES];
    int offered = 0;
    cublasStatus_t status = ask(p, handle, found, &offered);
    *count = 0;
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) {
        return true; // its way to say: none
    }
    if (!product_done(status, "choosing an algorithm for a matrix product", err)) {
        return false;
    }
    for (int i = 0; i < offered; i++) {
        if (!found[i].state && is_ordered(&found[i].algo)) {
            out[(*count)++] = found[i].algo;
        }
    }
    return true;
}

bool product_launch(const struct product *p, cublasLtHandle_t handle,
        const struct gemm_call *call, void *workspace, cudaStream_t stream,
        struct kernel_error *err) {
    float alpha = call->alpha, beta = call->accumulate || p->bias_before;
    void *aligned = (void *)(((uintptr_t)workspace + 255) / 256 * 256);
    cublasStatus_t status = set_bias(p, call->bias);
    if (status) {
        return product_done(status, "the bias of a matrix product", err);
    }
    status = cublasLtMatmul(handle, p->operation, &alpha, call->b, p->b, call->a, p->a,
            &beta, call->out, p->out, call->out, p->out, &p->algorithm, aligned,
            (size_t)p->key.workspace, stream);
    return product_done(status, "a matrix product", err);
}
