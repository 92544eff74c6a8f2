/*
 * In which pieces cuDNN's backward is run: each call gets a slice that begins where its
 * tensors say, and together they cover every head of every sequence once. What stands
 * in for cuDNN and CUDA here knows the slices by what lies in them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/cudnn_plan.h"
#include "kernels/cuda/ops.h"

enum { MOST = 1 << 15, PLANS = 16, WORKSPACE = 1000 };

/* -- in the place of CUDA and cuDNN ---------------------------------------------------
 */

static struct {
    const struct cudnn_plan *plan;
    struct cudnn_problem problem;
} plans[PLANS];
static int plan_count, calls;
static const char *wrong; // the first thing found so; judged once no lock is held
static int64_t largest;   // bytes of scores' gradients in one call

static cudnnStatus_t take_stream(cudnnHandle_t handle, cudaStream_t stream) {
    (void)handle;
    (void)stream;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t give_handle(cudnnHandle_t *handle) {
    *handle = NULL;
    return CUDNN_STATUS_SUCCESS;
}

static const struct cudnn_library library = {
        .version = 91900, .create_handle = give_handle, .set_stream = take_stream};

const struct cudnn_library *cudnn_library_open(struct kernel_error *err) {
    (void)err;
    return &library;
}

bool cudnn_library_done(const struct cudnn_library *lib, cudnnStatus_t status,
        const char *what, enum kernel_failure kind, struct kernel_error *err) {
    (void)lib;
    (void)what;
    (void)kind;
    (void)err;
    return status == CUDNN_STATUS_SUCCESS;
}

bool cudnn_attention_is_padded(const struct cudnn_problem *problem, size_t version) {
    (void)problem;
    (void)version;
    return false;
}

bool cudnn_plan_init(struct cudnn_plan *p, const struct cudnn_library *lib,
        cudnnHandle_t handle, const char *device, const struct cudnn_problem *problem,
        struct kernel_error *err) {
    (void)handle;
    (void)device;
    (void)err;
    if (plan_count == PLANS) {
        return false;
    }
    *p = (struct cudnn_plan){.graph = {.lib = lib}, .workspace = WORKSPACE};
    plans[plan_count].plan = p;
    plans[plan_count++].problem = *problem;
    return true;
}

void cudnn_plan_finish(struct cudnn_plan *p) {
    (void)p;
}

cudaError_t cudaSetDevice(int device) {
    (void)device;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t error) {
    (void)error;
    return "";
}
cudaError_t cudaMalloc(void **memory, size_t bytes) {
    *memory = malloc(bytes);
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind) {
    (void)kind;
    memcpy(to, from, n);
    return cudaSuccess;
}
cudaError_t cudaFree(void *memory) {
    free(memory);
    return cudaSuccess;
}
bool cuda_done(cudaError_t status, const char *what, struct kernel_error *err) {
    (void)what;
    (void)err;
    return status == cudaSuccess;
}

static void expect(bool right, const char *what) {
    wrong = wrong || right ? wrong : what;
}

/* -- numbers that say where they lie --------------------------------------------------
 */

static struct attention_shape whole;
static uint16_t qkv[MOST], dqkv[MOST], out[MOST], dout[MOST];
static float stats[MOST];
static unsigned char *scratch;
static size_t scratch_size;

/* `heads` in a row. */
static int64_t place(int64_t b, int64_t t, int64_t head, int64_t d, int64_t heads) {
    return ((b * whole.seq_len + t) * heads + head) * whole.head_dim + d;
}

static void fill(void) {
    for (int i = 0; i < MOST; i++) {
        qkv[i] = out[i] = (uint16_t)i;
        dout[i] = (uint16_t)(MOST + i);
        stats[i] = (float)i;
    }
    memset(dqkv, 0xff, sizeof dqkv);
}

static void check_row(const struct cudnn_problem *p, void *const operands[], int64_t b,
        int64_t h, int64_t t) {
    const struct attention_shape *s = &p->shape;
    int64_t H = p->row_heads, W = H + 2 * p->row_kv_heads;
    int64_t group = s->heads / s->kv_heads, g = h / group;
    const uint16_t *q = operands[OPERAND_Q], *k = operands[OPERAND_K];
    const uint16_t *v = operands[OPERAND_V], *o = operands[OPERAND_OUT];
    const uint16_t *grad = operands[OPERAND_DOUT];
    uint16_t *dq = operands[OPERAND_DQ], *dk = operands[OPERAND_DK];
    uint16_t *dv = operands[OPERAND_DV];
    // The first number of the row's query says where in the whole all this is.
    int64_t first = q[place(b, t, h, 0, W)] / whole.head_dim;
    int64_t head = first % W, row = first / W;
    int64_t at_b = row / whole.seq_len, key = H + head / group;
    const float *statistics = operands[OPERAND_STATS];
    expect(head < H && row % whole.seq_len == t, "another row");
    expect((int64_t)statistics[(b * H + h) * whole.seq_len + t] ==
                    (at_b * H + head) * whole.seq_len + t,
            "another row's statistics");
    for (int64_t d = 0; d < whole.head_dim; d++) {
        int64_t mixed = place(at_b, t, head, d, H), here = place(b, t, h, d, H);
        int64_t at_q = place(b, t, h, d, W), at_k = place(b, t, g, d, W);
        expect(o[here] == mixed, "another output");
        expect(grad[here] == MOST + mixed, "another output's gradient");
        expect(k[at_k] == place(at_b, t, key, d, W), "another key");
        expect(v[at_k] == place(at_b, t, key + p->row_kv_heads, d, W), "another value");
        dq[at_q] = q[at_q];
        dk[at_k] = k[at_k];
        dv[at_k] = v[at_k];
    }
}

bool cudnn_plan_run(struct cudnn_plan *p, cudnnHandle_t handle,
        void *const operands[OPERAND_FIRST_SCALAR], void *workspace,
        struct kernel_error *err) {
    const struct cudnn_problem *problem = NULL;
    (void)handle;
    (void)err;
    for (int i = 0; i < plan_count; i++) {
        problem = plans[i].plan == p ? &plans[i].problem : problem;
    }
    if (!problem) {
        return false;
    }
    const struct attention_shape *s = &problem->shape;
    int64_t bytes = s->batch * s->heads * s->seq_len * s->seq_len * 2;
    largest = bytes > largest ? bytes : largest;
    calls++;
    // The workspace, then the rows' sums, within the scratch and each at 256 bytes.
    unsigned char *sums = operands[OPERAND_ROW_SUMS];
    int64_t rows = ((s->batch - 1) * problem->row_heads + s->heads) * s->seq_len;
    expect((unsigned char *)workspace >= scratch &&
                    sums >= (unsigned char *)workspace + WORKSPACE &&
                    sums + rows * 4 <= scratch + scratch_size &&
                    (uintptr_t)sums % 256 == 0,
            "scratch that was not planned");
    expect((uintptr_t)operands[OPERAND_STATS] % 16 == (uintptr_t)stats % 16,
            "statistics off 16 bytes");
    for (int64_t b = 0; b < s->batch; b++) {
        for (int64_t h = 0; h < s->heads; h++) {
            for (int64_t t = 0; t < s->seq_len; t++) {
                check_row(problem, operands, b, h, t);
            }
        }
    }
    return true;
}

/* -- the tests ------------------------------------------------------------------------
 */

static struct tensor array(void *data, enum dtype type) {
    return (struct tensor){data, type, 1, {MOST}};
}

/* Backward of `shape` with so many bytes at a time, in so many calls. */
static void run(struct attention_shape shape, int64_t most, int expected) {
    struct kernel_error err = {0};
    struct attention_memory memory = {0};
    struct stream stream = {0};
    char bytes[32];
    whole = shape;
    whole.deterministic = true;
    calls = 0;
    largest = 0;
    snprintf(bytes, sizeof bytes, "%lld", (long long)most);
    setenv("LM_CUDNN_SLICE_BYTES", bytes, 1);
    assert_true(cuda_cudnn.plan(&whole, DTYPE_BF16, 1, &memory, &err));
    int planned = plan_count;
    scratch_size = memory.backward_scratch;
    scratch = malloc(scratch_size);
    fill();
    struct tensor q = array(qkv, DTYPE_BF16), dq = array(dqkv, DTYPE_BF16);
    struct tensor o = array(out, DTYPE_BF16), grad = array(dout, DTYPE_BF16);
    struct tensor saved = array(stats, DTYPE_F32);
    struct tensor room = {scratch, DTYPE_U8, 1, {(int64_t)scratch_size}};
    wrong = NULL;
    assert_true(cuda_cudnn.backward(
            &stream, &dq, &room, &grad, &o, &q, &saved, &whole, &err));
    if (wrong) {
        fail_msg("%d calls: %s", calls, wrong);
    }
    // None is built once a step may be in a graph; every element is written, in place.
    assert_int_equal(plan_count, planned);
    assert_int_equal(calls, expected);
    int64_t count = shape.batch * shape.seq_len * (shape.heads + 2 * shape.kv_heads) *
                    shape.head_dim;
    assert_memory_equal(dqkv, qkv, (size_t)count * sizeof *qkv);
    assert_int_equal(dqkv[count], 0xffff);
    free(scratch);
}

static void slices_cover_every_head_of_every_sequence_once(void **state) {
    (void)state;
    const struct attention_shape shape = {5, 8, 6, 3, 8, 0, true};
    const int64_t head = 2 * 8 * 8 * 2, sequence = 3 * head;
    run(shape, 5 * sequence, 1);
    run(shape, 3 * sequence, 2); // three and two
    assert_int_equal(largest, 3 * sequence);
    run(shape, 4 * sequence, 2); // as evenly as can be
    assert_int_equal(largest, 3 * sequence);
    run(shape, 2 * sequence, 3); // two, two and one
    run(shape, 2 * head, 5 * 2); // of each two heads, and one
    assert_int_equal(largest, 2 * head);
    run(shape, 1, 5 * 3);
    assert_int_equal(largest, head);
}

static void one_sequence_is_cut_by_heads(void **state) {
    (void)state;
    const struct attention_shape shape = {1, 16, 4, 4, 16, 0, true};
    run(shape, 3 * 16 * 16 * 2, 2);
    assert_int_equal(largest, 2 * 16 * 16 * 2);
}

/* cuDNN is told that statistics begin at multiples of 16 bytes. */
static void what_would_begin_at_odd_places_is_not_cut(void **state) {
    (void)state;
    run((struct attention_shape){3, 7, 3, 1, 8, 0, true}, 1, 1);
    run((struct attention_shape){3, 6, 2, 2, 8, 0, true}, 1, 3); // nor are its heads
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(slices_cover_every_head_of_every_sequence_once),
            cmocka_unit_test(one_sequence_is_cut_by_heads),
            cmocka_unit_test(what_would_begin_at_odd_places_is_not_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
