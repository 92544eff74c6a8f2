/*
 * The table of kernels: everything a model needs of a device, behind function pointers.
 * One implementation per device (kernels/cpu, kernels/cuda) plus the plain C reference
 * built twice (float and double). kernels/ knows nothing of the rest of the project.
 *
 * Rules all entries keep:
 * - Arguments: the stream, outputs, inputs, sizes, `err`. Shapes stand behind each
 *   argument. B batch, T sequence, C d_model, V vocabulary rows (padding included),
 *   H query heads, G key/value heads, D head size, F d_ff.
 * - Scratch and saved blocks are aligned to 64 bytes, other operands to 16.
 * - Work is queued on `stream` and may not have happened on return (CPU streams are
 *   immediate). No entry synchronises, allocates or frees: all can be captured.
 * - Activations, weights and their gradients are F32, BF16, F16 (F64 in the double
 *   reference); kernels dispatch on the tensors' types, accumulate in fp32 or wider,
 * and store rounded to nearest even. Statistics and losses are F32 (F64). A weight
 * gradient may be F32 under low-precision activations.
 * - Deterministic: same inputs and options, same bits, whatever else runs. On the CPU
 * the bits must not depend on the thread count either, where that costs nothing.
 * - `accumulate`: true adds to the output, false overwrites it.
 * - Shapes are the caller's promise (assert); false is for what the device refuses.
 */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/tensor.h"

/* Why a kernel call failed. */
enum kernel_failure {
    KERNEL_OK,
    KERNEL_UNSUPPORTED,   /* this device or build lacks it */
    KERNEL_OUT_OF_MEMORY, /* of the host */
    KERNEL_OUT_OF_DEVICE_MEMORY,
    KERNEL_DEVICE_FAULT,
    KERNEL_FAILED /* none of these: a file cannot be read or written */
};

struct kernel_error {
    enum kernel_failure kind;
    size_t bytes_asked, bytes_free; /* where memory was refused */
    char sentence[256];             /* lower case, no full stop */
};

struct stream; /* a queue of work on one device; opaque */
struct device_event;
struct graph; /* a captured stretch of work */

enum math { MATH_F32, MATH_TF32 /* fp32 operands rounded to tf32 before products */ };

struct stream_options {
    int device;  /* index; 0 on the CPU */
    int threads; /* CPU: worker threads; 0: all cores */
    enum math math;
    const char *tuning; /* file of chosen GEMM algorithms; NULL or missing: none */
};

/* A matrix product, as the three entries below do them, for tuning. */
enum matmul_kind { MATMUL_FORWARD, MATMUL_BACKWARD_INPUT, MATMUL_BACKWARD_WEIGHT };

struct matmul_problem {
    enum matmul_kind kind;
    int64_t m, n, k; /* rows, out features, in features of the layer */
    enum dtype type; /* of x, weight, out and their gradients … */
    enum dtype grad; /* … but that of dweight and dbias */
    bool bias;       /* forward adds one, backward sums dbias */
    bool accumulate;
};

/*
 * What a device says of itself at one moment; −1 where it does not say. Processes are
 * those that compute on it; where the list does not hold this one (as in a container
 * that hides others), it says nothing.
 */
struct telemetry {
    double sm_clock_mhz, sm_clock_max_mhz;
    double memory_clock_mhz, memory_clock_max_mhz;
    double temperature_c, power_w;
    int64_t reasons;               /* bits of enum telemetry_reason */
    int64_t energy_mj;             /* used since some moment before, millijoules */
    int64_t used_bytes, own_bytes; /* of the device's memory: all, this process's */
    int64_t foreign_processes, foreign_bytes;
};

/* Why clocks are not at their maximum (NVML's bits). */
enum telemetry_reason {
    REASON_IDLE = 0x1,
    REASON_SETTING = 0x2, /* of application clocks */
    REASON_POWER_CAP = 0x4,
    REASON_HW_SLOWDOWN = 0x8,
    REASON_SYNC_BOOST = 0x10,
    REASON_SW_THERMAL = 0x20,
    REASON_HW_THERMAL = 0x40,
    REASON_POWER_BRAKE = 0x80,
    REASON_DISPLAY = 0x100
};

/* How full a device's memory is, and how many processes compute on it; −1 unknown. */
struct occupancy {
    int64_t total_bytes, used_bytes, free_bytes, processes;
};

/* What a device is. */
struct device_facts {
    int capability; /* compute capability × 10 */
    int multiprocessors;
    int64_t l2_bytes;
    int nvlinks;     /* that are up; −1 unknown */
    char bus_id[32]; /* PCI address, "0000:65:00.0" */
    char driver[96]; /* its version; "" unknown */
};

enum memory_kind { MEMORY_DEVICE, MEMORY_PINNED };
enum copy_kind { COPY_TO_DEVICE, COPY_TO_HOST, COPY_ON_DEVICE };

/*
 * What the host wants the device to know about this step, and what the device decides.
 * One F32 tensor of CONTROL_COUNT elements in device memory, so that a captured graph
 * reads fresh values each replay. Loss scale and step live here because the device
 * changes them (an overflowing fp16 step is skipped and halves the scale).
 */
enum control {
    CONTROL_LR,          /* written by the host before each step */
    CONTROL_LOSS_SCALE,  /* 1 where unscaled */
    CONTROL_GOOD_STEPS,  /* steps since the scale last changed */
    CONTROL_UPDATES,     /* AdamW's t: updates really made */
    CONTROL_SKIPPED,     /* updates skipped for overflow */
    CONTROL_GRAD_NORM,   /* of the unscaled gradient, before clipping */
    CONTROL_GRAD_FACTOR, /* what AdamW multiplies gradients by: clip ÷ loss scale */
    CONTROL_OVERFLOW,    /* 1: a gradient is not finite, this update is skipped */
    CONTROL_LOSS,        /* mean loss of the step over its micro-steps (this rank) */
    CONTROL_ACCURACY,    /* share of tokens whose arg max is the target */
    CONTROL_COUNT = 16
};

struct attention_shape {
    int64_t batch, seq_len, heads, kv_heads, head_dim;
    int64_t window; /* 0: full causal; w: each token sees itself and w − 1 before it */
    bool deterministic; /* false: a faster backward may do whose sums have no order */
};

/* Bytes an attention kernel needs besides its operands, for one layer. */
struct attention_memory {
    size_t saved;           /* kept from forward to backward (LSE, or probabilities) */
    size_t forward_scratch; /* contents do not matter before or after */
    size_t backward_scratch;
};

/*
 * One way to compute causal attention, scale 1/√D. D is a multiple of 8, at most 128;
 * scratch must be planned for at least the stream's threads. `qkv` is packed [B, T, H +
 * 2G, D]: queries, then keys, then values. Query head h reads key/value head h ÷ (H ÷
 * G).
 */
struct attention_kernel {
    const char *name; /* "naive", "fused", "flash", "cudnn" */
    /* False where the kernel does not serve this shape or type on this device. */
    bool (*plan)(const struct attention_shape *shape, enum dtype type, int threads,
            struct attention_memory *out, struct kernel_error *err);
    bool (*forward)(struct stream *stream, struct tensor *out, /* [B, T, H, D] */
            struct tensor *saved, /* U8 [saved]; data NULL where backward won't come */
            struct tensor *scratch,   /* U8 [forward_scratch] */
            const struct tensor *qkv, /* [B, T, H + 2G, D] */
            const struct attention_shape *shape, struct kernel_error *err);
    bool (*backward)(struct stream *stream,
            struct tensor *dqkv,    /* [B, T, H + 2G, D], overwritten */
            struct tensor *scratch, /* U8 [backward_scratch] */
            const struct tensor *dout, const struct tensor *out, /* [B, T, H, D] */
            const struct tensor *qkv, const struct tensor *saved,
            const struct attention_shape *shape, struct kernel_error *err);
};

struct adamw_options {
    float beta1, beta2, epsilon, weight_decay;
};

struct clip_options {
    float clip;         /* largest allowed norm; 0: no clipping */
    bool dynamic_scale; /* fp16: halve on overflow, double after `growth_steps` good */
    int growth_steps;
};

struct kernels {
    const char *name; /* "cpu", "cuda", "reference", "reference64" */
    /* Rows of vocabulary tables are padded to a multiple of this, for products' sake.
     */
    int64_t vocab_multiple;

    /* -- device, memory, streams ------------------------------------------------- */
    int (*device_count)(void);
    /* Model name of a device, e.g. "Intel(R) Xeon(R)". Writes at most `size` bytes. */
    void (*device_name)(int device, char *name, size_t size);
    /* Optional, NULL where memory is the host's: bytes the device has free and in all.
     */
    bool (*device_memory)(int device, size_t *free_bytes, size_t *total_bytes,
            struct kernel_error *err);
    /* Optional, NULL where nothing says: clocks, heat, energy, who uses the device. Any
     * thread may ask at any time; takes no context. False where it cannot be asked. */
    bool (*telemetry)(int device, struct telemetry *out);
    /* Optional, NULL where memory is the host's: of the device at a PCI address,
     * visible to this process or not; takes no context. False where it cannot be asked.
     */
    bool (*occupancy)(const char *bus_id, struct occupancy *out);
    /* Optional, NULL where there are no GPUs: what a device is, and whether it reaches
     * another one's memory without the host. Takes no context. */
    bool (*device_facts)(
            int device, struct device_facts *out, struct kernel_error *err);
    bool (*device_reaches)(int from, int to);
    /* Optional, NULL where no profiler could ask: name what this thread does from the
     * one to the other, which nest. Next to nothing where none is attached. */
    void (*range_push)(const char *name);
    void (*range_pop)(void);
    bool (*allocate)(int device, enum memory_kind kind, size_t bytes, void **out,
            struct kernel_error *err);
    void (*release)(int device, enum memory_kind kind, void *memory, size_t bytes);
    bool (*stream_create)(const struct stream_options *options, struct stream **out,
            struct kernel_error *err);
    void (*stream_destroy)(struct stream *stream);
    bool (*stream_synchronize)(struct stream *stream, struct kernel_error *err);
    bool (*event_create)(
            struct stream *stream, struct device_event **out, struct kernel_error *err);
    void (*event_destroy)(struct device_event *event);
    bool (*event_record)(struct stream *stream, struct device_event *event,
            struct kernel_error *err);
    /* As event_record(), but in a captured graph it happens at every replay, for the
     * clock's sake; it orders no other stream. */
    bool (*event_mark)(struct stream *stream, struct device_event *event,
            struct kernel_error *err);
    /* `stream` waits for `event`, not the host. */
    bool (*event_wait)(struct stream *stream, struct device_event *event,
            struct kernel_error *err);
    /* The host waits until `event` has happened. */
    bool (*event_synchronize)(struct device_event *event, struct kernel_error *err);
    /* Both must have happened (synchronise first). */
    bool (*event_elapsed_ms)(struct device_event *from, struct device_event *to,
            double *ms, struct kernel_error *err);
    /* Optional, NULL where the device has no graphs: capture a stream's work, replay.
     */
    bool (*graph_begin)(struct stream *stream, struct kernel_error *err);
    bool (*graph_end)(
            struct stream *stream, struct graph **out, struct kernel_error *err);
    bool (*graph_launch)(
            struct stream *stream, struct graph *graph, struct kernel_error *err);
    void (*graph_destroy)(struct graph *graph);

    bool (*copy)(struct stream *stream, enum copy_kind kind, void *to, const void *from,
            size_t bytes, struct kernel_error *err);
    bool (*fill)(struct stream *stream, void *memory, unsigned char byte, size_t bytes,
            struct kernel_error *err);

    /* Optional, NULL where the host fills them: out[i], F32, = deviation × number
     * first + i, `first` even, of those that parameters_fill() draws from `key`. */
    bool (*normal)(struct stream *, struct tensor *out, uint64_t key, int64_t first,
            float deviation, struct kernel_error *);

    /* -- elementwise ------------------------------------------------------------- */
    /* out = in, converting type; same count. out may be in where the types agree. */
    bool (*cast)(struct stream *, struct tensor *out, const struct tensor *in,
            struct kernel_error *);
    /* out = a + b. out may be a or b. */
    bool (*add)(struct stream *, struct tensor *out, const struct tensor *a,
            const struct tensor *b, struct kernel_error *);
    /* out = gelu(in), the tanh form: 0.5x(1 + tanh(√(2/π)(x + 0.044715x³))). */
    bool (*gelu_forward)(struct stream *, struct tensor *out, const struct tensor *in,
            struct kernel_error *);
    /* din = dout × gelu′(in). din may be dout. */
    bool (*gelu_backward)(struct stream *, struct tensor *din,
            const struct tensor *dout, const struct tensor *in, struct kernel_error *);
    /* out = silu(gate) × up. gate_up is [N, 2F]: gate in columns 0…F−1, then up. */
    bool (*swiglu_forward)(struct stream *, struct tensor *out /* [N, F] */,
            const struct tensor *gate_up /* [N, 2F] */, struct kernel_error *);
    bool (*swiglu_backward)(struct stream *, struct tensor *dgate_up /* [N, 2F] */,
            const struct tensor *dout /* [N, F] */,
            const struct tensor *gate_up /* [N, 2F]; may be dgate_up */,
            struct kernel_error *);
    /* Rotary positions (halves convention, as HF Llama), in place on the first H + G
     * heads of qkv [B, T, H + 2G, D]; backward turns the other way. */
    bool (*rope_forward)(struct stream *, struct tensor *qkv, int64_t heads,
            int64_t kv_heads, float theta, struct kernel_error *);
    bool (*rope_backward)(struct stream *, struct tensor *dqkv, int64_t heads,
            int64_t kv_heads, float theta, struct kernel_error *);

    /* -- embedding --------------------------------------------------------------- */
    /* out[b,t] = token_table[tokens[b,t]] (+ position_table[t] where given). */
    bool (*embedding_forward)(struct stream *, struct tensor *out /* [B, T, C] */,
            const struct tensor *tokens /* I32 [B, T] */,
            const struct tensor *token_table /* [V, C] */,
            const struct tensor *position_table /* [≥T, C] or absent */,
            struct kernel_error *);
    bool (*embedding_backward)(struct stream *, struct tensor *dtoken_table,
            struct tensor *dposition_table /* or absent */,
            struct tensor *scratch /* U8 [embedding_scratch] */,
            const struct tensor *dout /* [B, T, C] */, const struct tensor *tokens,
            bool accumulate, struct kernel_error *);
    size_t (*embedding_scratch)(int64_t tokens, int64_t vocab, int64_t channels);

    /* -- normalisation, eps 1e-5 --------------------------------------------------
     * sum = x + y where y is given (residual add fused in; sum may be x, and what is
     * normalised is the sum as stored), else sum is absent and x is normalised.
     * Backward: dx = the gradient reaching sum, plus dsum where that is given, which
     * may be dx: what reaches it by other ways. */
    bool (*layernorm_forward)(struct stream *, struct tensor *out /* [N, C] */,
            struct tensor *mean, struct tensor *rstd /* [N]; absent: not kept */,
            struct tensor *sum, const struct tensor *x, const struct tensor *y,
            const struct tensor *weight, const struct tensor *bias /* [C] */,
            struct kernel_error *);
    bool (*layernorm_backward)(struct stream *, struct tensor *dx,
            struct tensor *dweight, struct tensor *dbias,
            struct tensor *scratch /* U8 [norm_scratch] */, const struct tensor *dsum,
            const struct tensor *dout, const struct tensor *x /* what was normalised */,
            const struct tensor *mean, const struct tensor *rstd,
            const struct tensor *weight, bool accumulate_weights,
            struct kernel_error *);
    bool (*rmsnorm_forward)(struct stream *, struct tensor *out, struct tensor *rstd,
            struct tensor *sum, const struct tensor *x, const struct tensor *y,
            const struct tensor *weight, struct kernel_error *);
    bool (*rmsnorm_backward)(struct stream *, struct tensor *dx, struct tensor *dweight,
            struct tensor *scratch, const struct tensor *dsum,
            const struct tensor *dout, const struct tensor *x,
            const struct tensor *rstd, const struct tensor *weight,
            bool accumulate_weights, struct kernel_error *);
    size_t (*norm_scratch)(int64_t rows, int64_t channels, int threads);

    /* -- matrix products ---------------------------------------------------------
     * `scratch` U8 [matmul_scratch] holds converted operands where the device needs
     * them (packed, on the CPU) or a library's workspace; it is enough for all three
     * products of a layer with these M, N and K and operands of `type` or F32. */
    bool (*matmul_forward)(struct stream *, struct tensor *out /* [M, N] */,
            struct tensor *scratch, const struct tensor *x /* [M, K] */,
            const struct tensor *weight /* [N, K] */,
            const struct tensor *bias /* [N] or absent */, struct kernel_error *);
    /* dx (+)= dout · weight */
    bool (*matmul_backward_input)(struct stream *, struct tensor *dx /* [M, K] */,
            struct tensor *scratch, const struct tensor *dout /* [M, N] */,
            const struct tensor *weight, bool accumulate, struct kernel_error *);
    /* dweight (+)= doutᵀ · x; dbias (+)= column sums of dout where given */
    bool (*matmul_backward_weight)(struct stream *, struct tensor *dweight,
            struct tensor *dbias, struct tensor *scratch, const struct tensor *dout,
            const struct tensor *x, bool accumulate, struct kernel_error *);
    size_t (*matmul_scratch)(
            int64_t m, int64_t n, int64_t k, enum dtype type, int threads);
    /* Optional, NULL where there is nothing to choose. Time the ways to do a product
     * under the stream's math, where the table does not know it yet, and keep the
     * fastest that repeats bit for bit. Synchronises and allocates. */
    bool (*matmul_tune)(struct stream *stream, const struct matmul_problem *problem,
            struct kernel_error *err);
    /* Write the table whole to `path` (by rename); its digest, 16 hex digits and NUL,
     * "" where it is empty. */
    bool (*tuning_save)(
            struct stream *stream, const char *path, struct kernel_error *err);
    void (*tuning_digest)(struct stream *stream, char digest[17]);

    /* -- attention --------------------------------------------------------------- */
    /* NULL where the device or build has no kernel of that name. */
    const struct attention_kernel *(*attention)(const char *name);

    /* -- loss ---------------------------------------------------------------------
     * Softmax cross-entropy over the first `vocab` of V columns. losses[n] = −log p of
     * the target; correct[n] = 1 where the first arg max is the target, else 0. Targets
     * < 0 are ignored: loss, correct and gradient 0. Where `gradient`, logits becomes
     * (softmax − onehot) × factor × control[CONTROL_LOSS_SCALE], 0 in padding; else it
     * is left alone and control may be absent. */
    bool (*classifier)(struct stream *, struct tensor *losses, struct tensor *correct,
            struct tensor *logits /* [N, V], in place */,
            const struct tensor *targets /* I32 [N] */, const struct tensor *control,
            int64_t vocab, bool gradient, float factor, struct kernel_error *);
    /* control[CONTROL_LOSS] (+)= Σ losses × factor, control[CONTROL_ACCURACY] likewise.
     */
    bool (*loss_sum)(struct stream *, struct tensor *control,
            const struct tensor *losses, const struct tensor *correct, float factor,
            bool accumulate, struct kernel_error *);

    /* -- optimizer ---------------------------------------------------------------
     * Weights and gradients come in chunks of NORM_CHUNK elements. `owned`, I32, lists
     * those that this rank sums and updates, by number, each once, all of them whole
     * for adamw; absent: all.
     *
     * norm_partials: one sum of squares a chunk, at the chunk's place, in fixed order,
     * so the norm does not depend on who sums what; partials of other chunks stay. A
     * partial is not finite where an element is not. partials is F32 (F64)
     * [⌈count/NORM_CHUNK⌉], or longer where `owned` is given. */
    bool (*norm_partials)(struct stream *, struct tensor *partials,
            const struct tensor *grads, const struct tensor *owned,
            struct kernel_error *);
    /* From the partials (all of them, of every shard), with s = CONTROL_LOSS_SCALE:
     * GRAD_NORM = √Σ ÷ s. Where Σ is finite: GRAD_FACTOR = min(1, clip ÷ norm) ÷ s,
     * OVERFLOW = 0, UPDATES += 1. Else GRAD_FACTOR = 0, OVERFLOW = 1, SKIPPED += 1,
     * whether scaled or not. Then, where `dynamic_scale`, LOSS_SCALE halves (not under
     * LOSS_SCALE_MIN) on overflow, doubles (not over LOSS_SCALE_MAX) after
     * `growth_steps` good steps; GOOD_STEPS counts since it last changed. */
    bool (*clip)(struct stream *, struct tensor *control, const struct tensor *partials,
            const struct clip_options *options, struct kernel_error *);
    /* One AdamW step (decoupled decay, Loshchilov & Hutter) at control's lr, factor and
     * update count; nothing where CONTROL_OVERFLOW. `weights` is the model's copy: the
     * rounded master, or the master itself (same data pointer). Where `owned` is given,
     * moments, and a master of their own, hold its chunks alone, in its order. Weight
     * decay applies to blocks of ADAMW_BLOCK elements whose `decayed` is 1; absent: to
     * all. */
    bool (*adamw)(struct stream *, struct tensor *weights, struct tensor *master,
            struct tensor *first_moment, struct tensor *second_moment,
            const struct tensor *grads,
            const struct tensor *decayed /* U8 [⌈count/ADAMW_BLOCK⌉] or absent */,
            const struct tensor *owned, const struct tensor *control,
            const struct adamw_options *options, struct kernel_error *);
};

/* The optional entries of that name. */
static inline void kernels_range_push(const struct kernels *k, const char *name) {
    if (k->range_push) {
        k->range_push(name);
    }
}

static inline void kernels_range_pop(const struct kernels *k) {
    if (k->range_pop) {
        k->range_pop();
    }
}

#define NORM_CHUNK 65536
#define ADAMW_BLOCK 128
#define LOSS_SCALE_MIN 1.0
#define LOSS_SCALE_MAX 16777216.0 /* 2^24 */

/*
 * The tables of this build. Both references take tensors of every type: the first
 * computes each element in fp32 (sums in double), the second all in double, so that F64
 * outputs of low-precision inputs are the truth that others are measured against. The
 * CPU table, like the CUDA one, takes F32, BF16 and F16.
 */
const struct kernels *kernels_reference(void);
const struct kernels *kernels_reference64(void);
const struct kernels *kernels_cpu(void);
const struct kernels *kernels_cuda(void); /* where kernels/cuda is built and linked */

/* Fill `err` and return false. */
bool kernel_fail(struct kernel_error *err, enum kernel_failure kind, const char *format,
        ...) __attribute__((format(printf, 3, 4)));

#endif
