/*
 * The parameter table: every parameter a cell has, its type, default, range and
 * meaning. The one list of them: the matrix language, `plan --help`, hashes, cell ids,
 * spec files, CSV columns and the worker all read it. Order is the order of design §4.
 */
#ifndef MATRIX_AXES_H
#define MATRIX_AXES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "matrix/text.h"

enum param {
    /* what */
    PARAM_TASK,
    PARAM_ENGINE,
    PARAM_DEVICE,
    /* model */
    PARAM_ARCH,
    PARAM_LAYERS,
    PARAM_D_MODEL,
    PARAM_HEADS,
    PARAM_KV_HEADS, /* 0: as many as heads */
    PARAM_D_FF,     /* 0: 4 × d_model */
    PARAM_VOCAB,    /* 0: the tokenizer's */
    PARAM_SEQ_LEN,
    /* technique */
    PARAM_KERNEL,
    PARAM_WINDOW,
    PARAM_PRECISION,
    PARAM_CHECKPOINT,
    PARAM_CHECKPOINT_EVERY,
    PARAM_RECOMPUTE,
    PARAM_GRAPH,
    PARAM_DETERMINISTIC,
    PARAM_GRAD,
    PARAM_COMPILE_MODE,
    /* parallel */
    PARAM_RANKS,
    PARAM_FIRST_GPU,
    PARAM_DDP,
    PARAM_BUCKET_MB,
    PARAM_BATCH,        /* -1 stands for `max` */
    PARAM_GLOBAL_BATCH, /* 0: unset, batch counts */
    PARAM_ACCUMULATE,
    /* training */
    PARAM_STEPS,
    PARAM_WARMUP_STEPS,
    PARAM_EPOCHS, /* 0: `steps` counts; else this many passes over the training split */
    PARAM_LR,
    PARAM_LR_SCHEDULE,
    PARAM_LR_MIN,
    PARAM_LR_WARMUP,
    PARAM_WEIGHT_DECAY,
    PARAM_BETA1,
    PARAM_BETA2,
    PARAM_GRAD_CLIP, /* 0: off */
    PARAM_SEED,
    PARAM_LOG_EVERY,
    PARAM_EVAL_EVERY,   /* 0: only after the last step */
    PARAM_EVAL_BATCHES, /* 0: the whole validation split */
    /* data */
    PARAM_DATA, /* "stories", or files, globs or a folder; several joined with "," */
    PARAM_TOKENIZER, /* "bytes", a vocabulary size, or a path ending in .json */
    PARAM_SPLIT,     /* "85/10/5": train/validation/test, percent */
    /* run */
    PARAM_THREADS, /* 0: cores ÷ ranks on the CPU */
    PARAM_START_S,
    PARAM_HEARTBEAT_S,
    PARAM_TIMEOUT_S,
    PARAM_REPEATS,
    PARAM_MEMORY_LIMIT, /* bytes, 0: none; in YAML also "2GiB", "512MiB" */
    PARAM_ENV,          /* canonical JSON object of strings, "{}" when empty */
    /* proof */
    PARAM_INJECT,
    PARAM_INJECT_RANK,
    PARAM_INJECT_STEP, /* counts where inject_phase is step */
    PARAM_INJECT_PHASE,
    PARAM_COUNT
};

/* Choices of the enumerated parameters; the first is the default. */
enum { TASK_TRAIN, TASK_ATTENTION, TASK_ALLREDUCE, TASK_GENERATE, TASK_NOOP };
enum { ENGINE_NATIVE, ENGINE_TORCH, ENGINE_TORCH_COMPILE, ENGINE_COUNT };
enum { DEVICE_AUTO, DEVICE_CPU, DEVICE_CUDA };
enum { ARCH_GPT, ARCH_LLAMA };
enum { KERNEL_NAIVE, KERNEL_FUSED, KERNEL_FLASH, KERNEL_CUDNN };
enum { PRECISION_FP32, PRECISION_TF32, PRECISION_BF16, PRECISION_FP16 };
enum { CHECKPOINT_NONE, CHECKPOINT_BLOCK };
enum { RECOMPUTE_NONE, RECOMPUTE_ACT, RECOMPUTE_ACT_NORM };
enum { GRAPH_OFF, GRAPH_ON };
enum { DETERMINISTIC_ON, DETERMINISTIC_OFF };
enum { GRAD_AUTO, GRAD_BF16, GRAD_FP32 };
enum { COMPILE_DEFAULT, COMPILE_REDUCE_OVERHEAD, COMPILE_MAX_AUTOTUNE };
enum { DDP_NONE, DDP_NAIVE, DDP_FLAT, DDP_BUCKETED, DDP_SHARDED };
enum { LR_SCHEDULE_COSINE, LR_SCHEDULE_CONSTANT, LR_SCHEDULE_LINEAR };
enum {
    INJECT_NONE,
    INJECT_SEGV,
    INJECT_ABORT,
    INJECT_EXIT,
    INJECT_HANG,
    INJECT_STALL,
    INJECT_OOM_HOST,
    INJECT_OOM_DEVICE,
    INJECT_NAN,
    INJECT_GARBAGE,
    INJECT_ORPHAN,
    INJECT_DEVICE_FAULT
};
enum {
    INJECT_PHASE_STEP,
    INJECT_PHASE_START, /* before this rank meets the others */
    INJECT_PHASE_INSTRUMENT,
    INJECT_PHASE_EVAL,
    INJECT_PHASE_END
};

enum axis_type {
    AXIS_CHOICE,  /* value.integer is the index into `choices` */
    AXIS_INTEGER, /* value.integer */
    AXIS_REAL,    /* value.real */
    AXIS_TEXT     /* value.text */
};

union value {
    int64_t integer;
    double real;
    const char *text; /* interned: never freed, equal texts are one pointer */
};

struct axis {
    const char *name;
    const char *group; /* "what", "model", … as in the enum's comments */
    enum axis_type type;
    const char *const *choices; /* AXIS_CHOICE: NULL-terminated */
    union value fallback;       /* the default */
    double minimum, maximum;    /* AXIS_INTEGER and AXIS_REAL, inclusive */
    bool hashed;                /* false: start_s heartbeat_s timeout_s repeats */
    const char *unit;           /* "" where it has none */
    const char *help;           /* one phrase */
};

/* A complete set of parameters; plain data, copied by assignment. */
struct params {
    union value values[PARAM_COUNT];
};

const struct axis *axes_get(enum param p);

/*
 * Append how a person reads one parameter's place in the table: "fp32, tf32, bf16 or
 * fp16", "an integer from 1 to 1000", ….
 */
void axes_expected(enum param p, struct text *out);

/* True and `*out` set where `name` is a parameter. */
bool axes_find(const char *name, enum param *out);

/* The known name nearest to `name` for "did you mean", or NULL where none is near. */
const char *axes_nearest(const char *name);

/* One shared copy of `s` that lives as long as the process. Thread-safe. */
const char *axes_intern(const char *s);

/* Every parameter at its default. */
void params_init(struct params *p);

/*
 * Set one parameter from its text form ("bf16", "32", "0.1", "max", "2GiB"). The error
 * names the parameter, what was found and what is expected, with no file position: the
 * caller puts that in front.
 */
bool params_set(struct params *p, enum param which, const char *text, struct text *err);

/* Append the text form: what params_set() reads, shortest round-trip reals. */
void params_show(const struct params *p, enum param which, struct text *out);

/* As the text form, in JSON and typed: choices by name, `batch` -1 as "max", `env` as
 * an object. New reference. */
json_t *params_value_to_json(const struct params *p, enum param which);

/* Every parameter by name, in table order; `changed_only`: but for defaults. */
json_t *params_to_json(const struct params *p, bool changed_only);

/*
 * The reverse: parameters that `object` lacks take their default, a name that is no
 * parameter is refused. On failure `p` is as params_init() leaves it.
 */
bool params_from_json(struct params *p, const json_t *object, struct text *err);

/* Integers and choices as reals, reals cut to integers: both work on every number. */
int64_t params_integer(const struct params *p, enum param which); /* choices too */
double params_real(const struct params *p, enum param which);
const char *params_text(const struct params *p, enum param which);
const char *params_choice(const struct params *p, enum param which); /* its name */
bool params_is_default(const struct params *p, enum param which);

/* Derived sizes, with the zeros above resolved. */
int64_t params_kv_heads(const struct params *p);
int64_t params_d_ff(const struct params *p);
int64_t params_batch(const struct params *p); /* from global_batch too; -1 for max */

/*
 * The hash of design §1: canonical JSON of the hashed parameters that differ from their
 * default → SHA-256 → the first 12 hex digits. `out` takes 13 bytes.
 */
void params_hash(const struct params *p, char out[13]);

/*
 * Whether these parameters make sense together (heads divide d_model, kv_heads divide
 * heads, head_dim a multiple of 8 up to 128, batch or global_batch, …). The sentence
 * has no file position. What would merely measure nothing (window ≥ seq_len, ddp
 * against ranks) is for expansion to exclude and no error here.
 */
bool params_check(const struct params *p, struct text *err);

#endif
