#include "matrix/axes.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/nearest.h"

#define EXACT 9007199254740991.0 /* 2^53 - 1: every integer up to here is a double */

static const char *const tasks[] = {
        "train", "attention", "allreduce", "generate", "noop", NULL};
static const char *const engines[] = {"native", "torch", "torch_compile", NULL};
static const char *const devices[] = {"auto", "cpu", "cuda", NULL};
static const char *const archs[] = {"gpt", "llama", NULL};
static const char *const kernels[] = {"naive", "fused", "flash", "cudnn", NULL};
static const char *const precisions[] = {"fp32", "tf32", "bf16", "fp16", NULL};
static const char *const checkpoints[] = {"none", "block", NULL};
static const char *const recomputes[] = {"none", "act", "act_norm", NULL};
static const char *const graphs[] = {"off", "on", NULL};
static const char *const deterministics[] = {"on", "off", NULL};
static const char *const grads[] = {"auto", "bf16", "fp32", NULL};
static const char *const compile_modes[] = {
        "default", "reduce-overhead", "max-autotune", NULL};
static const char *const ddps[] = {
        "none", "naive", "flat", "bucketed", "sharded", NULL};
static const char *const lr_schedules[] = {"cosine", "constant", "linear", NULL};
static const char *const injects[] = {"none", "segv", "abort", "exit", "hang", "stall",
        "oom_host", "oom_device", "nan", "garbage", "orphan", "device_fault", NULL};
static const char *const inject_phases[] = {
        "step", "start", "instrument", "eval", "end", NULL};

#define CHOICE(list) .type = AXIS_CHOICE, .choices = list, .hashed = true, .unit = ""
#define INTEGER(value, low, high, unit_)                                               \
    .type = AXIS_INTEGER, .fallback.integer = value, .minimum = low, .maximum = high,  \
    .hashed = true, .unit = unit_
#define REAL(value, low, high, unit_)                                                  \
    .type = AXIS_REAL, .fallback.real = value, .minimum = low, .maximum = high,        \
    .hashed = true, .unit = unit_
#define TEXT(value)                                                                    \
    .type = AXIS_TEXT, .fallback.text = value, .hashed = true, .unit = ""

/* How an attempt is watched and how often, which does not change what it measures. */
#define CLOCK(value)                                                                   \
    .type = AXIS_REAL, .fallback.real = value, .minimum = 0.001, .maximum = 1e7,       \
    .unit = "s"

static const struct axis table[PARAM_COUNT] = {
        [PARAM_TASK] = {"task", "what", CHOICE(tasks), .help = "what the cell does"},
        [PARAM_ENGINE] = {"engine", "what", CHOICE(engines),
                .help = "whose implementation runs it"},
        [PARAM_DEVICE] = {"device", "what", CHOICE(devices),
                .help = "auto takes a GPU where worker-cuda lists one"},
        [PARAM_ARCH] = {"arch", "model", CHOICE(archs), .help = "the model's family"},
        [PARAM_LAYERS] = {"layers", "model", INTEGER(4, 1, 1000, ""),
                .help = "transformer blocks"},
        [PARAM_D_MODEL] = {"d_model", "model", INTEGER(128, 8, 65536, ""),
                .help = "width of the residual stream"},
        [PARAM_HEADS] = {"heads", "model", INTEGER(4, 1, 1024, ""),
                .help = "attention heads"},
        [PARAM_KV_HEADS] = {"kv_heads", "model", INTEGER(0, 0, 1024, ""),
                .help = "key and value heads; 0: as many as heads"},
        [PARAM_D_FF] = {"d_ff", "model", INTEGER(0, 0, 1048576, ""),
                .help = "width of the feed-forward layer; 0: 4 x d_model"},
        [PARAM_VOCAB] = {"vocab", "model", INTEGER(0, 0, 16777216, "tokens"),
                .help = "the model's vocabulary; 0: the tokenizer's"},
        [PARAM_SEQ_LEN] = {"seq_len", "model", INTEGER(64, 1, 1048576, "tokens"),
                .help = "sequence length"},
        [PARAM_KERNEL] = {"kernel", "technique", CHOICE(kernels),
                .help = "the attention kernel"},
        [PARAM_WINDOW] = {"window", "technique", INTEGER(0, 0, 1048576, "tokens"),
                .help = "sliding attention window, self included; 0: full causal"},
        [PARAM_PRECISION] = {"precision", "technique", CHOICE(precisions),
                .help = "of weights and activations"},
        [PARAM_CHECKPOINT] = {"checkpoint", "technique", CHOICE(checkpoints),
                .help = "keep only block inputs and recompute the rest"},
        [PARAM_CHECKPOINT_EVERY] = {"checkpoint_every", "technique",
                INTEGER(1, 1, 1000, "blocks"), .help = "blocks per segment"},
        [PARAM_RECOMPUTE] = {"recompute", "technique", CHOICE(recomputes),
                .help = "recompute activation functions, and norms, in backward"},
        [PARAM_GRAPH] = {"graph", "technique", CHOICE(graphs),
                .help = "a whole step as one CUDA graph"},
        [PARAM_DETERMINISTIC] = {"deterministic", "technique", CHOICE(deterministics),
                .help = "same seed, same device, same bits"},
        [PARAM_GRAD] = {"grad", "technique", CHOICE(grads),
                .help = "type of gradients; auto: the weight's, fp32 if accumulated"},
        [PARAM_COMPILE_MODE] = {"compile_mode", "technique", CHOICE(compile_modes),
                .help = "for engine torch_compile"},
        [PARAM_RANKS] = {"ranks", "parallel", INTEGER(1, 1, 4096, ""),
                .help = "processes, one GPU each"},
        [PARAM_FIRST_GPU] = {"first_gpu", "parallel", INTEGER(0, 0, 4095, ""),
                .help = "rank 0's, among the GPUs at hand; other ranks take the next"},
        [PARAM_DDP] = {"ddp", "parallel", CHOICE(ddps),
                .help = "how ranks share gradients"},
        [PARAM_BUCKET_MB] = {"bucket_mb", "parallel", REAL(10, 0.001, 65536, "MiB"),
                .help = "bucket size for ddp bucketed and sharded"},
        [PARAM_BATCH] = {"batch", "parallel", INTEGER(12, 1, 1048576, "sequences"),
                .help = "per rank and micro-step; max: the largest that trains"},
        [PARAM_GLOBAL_BATCH] = {"global_batch", "parallel",
                INTEGER(0, 0, 16777216, "sequences"),
                .help = "over all ranks and micro-steps; 0: batch counts"},
        [PARAM_ACCUMULATE] = {"accumulate", "parallel",
                INTEGER(1, 1, 65536, "micro-steps"), .help = "micro-steps a step"},
        [PARAM_STEPS] = {"steps", "training", INTEGER(50, 1, 1000000000, "steps"),
                .help = "optimizer steps, warm-up included"},
        [PARAM_WARMUP_STEPS] = {"warmup_steps", "training",
                INTEGER(5, 0, 1000000, "steps"),
                .help = "first steps, left out of the timed window"},
        [PARAM_EPOCHS] = {"epochs", "training", INTEGER(0, 0, 1000000, "passes"),
                .help = "passes over the training split; 0: steps counts"},
        [PARAM_LR] = {"lr", "training", REAL(1e-3, 0, 1000, ""),
                .help = "peak learning rate"},
        [PARAM_LR_SCHEDULE] = {"lr_schedule", "training", CHOICE(lr_schedules),
                .help = "from lr to lr_min after lr_warmup"},
        [PARAM_LR_MIN] = {"lr_min", "training", REAL(0, 0, 1000, ""),
                .help = "learning rate at the last step"},
        [PARAM_LR_WARMUP] = {"lr_warmup", "training",
                INTEGER(5, 0, 1000000000, "steps"),
                .help = "steps over which the learning rate rises"},
        [PARAM_WEIGHT_DECAY] = {"weight_decay", "training", REAL(0.1, 0, 100, ""),
                .help = "of matrices and embeddings"},
        [PARAM_BETA1] = {"beta1", "training", REAL(0.9, 0, 0.999999, ""),
                .help = "AdamW's first moment"},
        [PARAM_BETA2] = {"beta2", "training", REAL(0.95, 0, 0.999999, ""),
                .help = "AdamW's second moment"},
        [PARAM_GRAD_CLIP] = {"grad_clip", "training", REAL(1, 0, 1e9, ""),
                .help = "largest gradient norm; 0: off"},
        [PARAM_SEED] = {"seed", "training", INTEGER(1337, 0, EXACT, ""),
                .help = "of weights and data order"},
        [PARAM_LOG_EVERY] = {"log_every", "training", INTEGER(1, 1, 1000000, "steps"),
                .help = "steps between step events"},
        [PARAM_EVAL_EVERY] = {"eval_every", "training",
                INTEGER(0, 0, 1000000000, "steps"), .help = "0: only at the end"},
        [PARAM_EVAL_BATCHES] = {"eval_batches", "training",
                INTEGER(20, 0, 1000000000, "batches"),
                .help = "of batch or global_batch sequences; 0: the whole split"},
        [PARAM_DATA] = {"data", "data", TEXT("stories"),
                .help = "stories[:SIZE[:SEED]], or text files and globs, by commas"},
        [PARAM_TOKENIZER] = {"tokenizer", "data", TEXT("bytes"),
                .help = "bytes, a vocabulary size (BPE), or a tokenizer.json"},
        [PARAM_SPLIT] = {"split", "data", TEXT("85/10/5"),
                .help = "train/validation/test, percent"},
        [PARAM_THREADS] = {"threads", "run", INTEGER(0, 0, 4096, ""),
                .help = "per rank; 0: cores / ranks on the CPU"},
        [PARAM_START_S] = {"start_s", "run", CLOCK(120),
                .help = "longest to the first step; past it: hang"},
        [PARAM_HEARTBEAT_S] = {"heartbeat_s", "run", CLOCK(60),
                .help = "longest between events after it; past it: hang"},
        [PARAM_TIMEOUT_S] = {"timeout_s", "run", CLOCK(1800),
                .help = "longest attempt; past it: timeout"},
        [PARAM_REPEATS] = {"repeats", "run", .type = AXIS_INTEGER,
                .fallback.integer = 1, .minimum = 1, .maximum = 1000,
                .unit = "attempts", .help = "attempts that must be fresh"},
        [PARAM_MEMORY_LIMIT] = {"memory_limit", "run", INTEGER(0, 0, EXACT, "bytes"),
                .help = "per rank, also 512MiB, 2GiB; 0: none"},
        [PARAM_ENV] = {"env", "run", TEXT("{}"),
                .help = "variables given to the worker, a map of texts"},
        [PARAM_INJECT] = {"inject", "proof", CHOICE(injects),
                .help = "a fault to prove that it is contained"},
        [PARAM_INJECT_RANK] = {"inject_rank", "proof", INTEGER(0, 0, 4095, ""),
                .help = "the rank that suffers it"},
        [PARAM_INJECT_STEP] = {"inject_step", "proof",
                INTEGER(2, 0, 1000000000, "steps"),
                .help = "the step before which it strikes"},
        [PARAM_INJECT_PHASE] = {"inject_phase", "proof", CHOICE(inject_phases),
                .help = "step: before inject_step; else at that phase's beginning"},
};

const struct axis *axes_get(enum param p) {
    assert(p >= 0 && p < PARAM_COUNT);
    return &table[p];
}

void axes_expected(enum param p, struct text *out) {
    const struct axis *axis = axes_get(p);
    switch (axis->type) {
    case AXIS_CHOICE:
        for (int i = 0; axis->choices[i]; i++) {
            text_addf(out, "%s%s",
                    !i                     ? ""
                    : axis->choices[i + 1] ? ", "
                                           : " or ",
                    axis->choices[i]);
        }
        break;
    case AXIS_INTEGER:
    case AXIS_REAL:
        text_add(out,
                axis->type == AXIS_INTEGER ? "an integer from " : "a number from ");
        text_add_real(out, axis->minimum);
        text_add(out, " to ");
        if (axis->type == AXIS_INTEGER) {
            text_addf(out, "%.0f", axis->maximum);
        } else {
            text_add_real(out, axis->maximum);
        }
        text_add(out, p == PARAM_BATCH ? ", or max" : "");
        text_add(out, p == PARAM_MEMORY_LIMIT ? " bytes, or a size such as 2GiB" : "");
        break;
    case AXIS_TEXT:
        text_add(out, p == PARAM_ENV         ? "a map from variable names to texts"
                      : p == PARAM_SPLIT     ? "three percentages such as 85/10/5"
                      : p == PARAM_TOKENIZER ? "bytes, a vocabulary size from 257 to "
                                               "1000000, or a path ending in .json"
                                             : "1 to 1024 printable characters");
        break;
    }
}

bool axes_find(const char *name, enum param *out) {
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (!strcmp(table[i].name, name)) {
            *out = (enum param)i;
            return true;
        }
    }
    return false;
}

const char *axes_nearest(const char *name) {
    struct nearest n;
    nearest_init(&n, name);
    for (int i = 0; i < PARAM_COUNT; i++) {
        nearest_offer(&n, table[i].name);
    }
    return nearest_likely(&n);
}

/* Interned texts: a hash table of chains that only ever grows. */
struct interned {
    struct interned *next;
    char text[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct interned *chains[4096];

const char *axes_intern(const char *s) {
    size_t size = strlen(s) + 1;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (unsigned char)s[i]) * 16777619u;
    }
    struct interned **chain = &chains[hash % (sizeof chains / sizeof *chains)];
    pthread_mutex_lock(&lock);
    struct interned *found = *chain;
    while (found && strcmp(found->text, s) != 0) {
        found = found->next;
    }
    if (!found) {
        found = text_allocate(sizeof *found + size);
        memcpy(found->text, s, size);
        found->next = *chain;
        *chain = found;
    }
    pthread_mutex_unlock(&lock);
    return found->text;
}
