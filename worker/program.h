/*
 * The step, declared once: a list of ops in the order they run, each naming the tensors
 * it reads and writes. The memory plan, execution, checkpointing, gradient reduction
 * and instrumentation all walk this list; nothing runs that is not on it.
 *
 * A program owns its lists, not the tensors' bytes. Build it with the functions below,
 * let memory_plan() place its tensors and memory_bind() point them at an arena, then
 * run it with execute.h.
 */
#ifndef WORKER_PROGRAM_H
#define WORKER_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/tensor.h"
#include "matrix/text.h"
#include "worker/memory.h"

/* One per kernel; operands stand in the order of the kernel's own arguments. */
enum op_kind {
    OP_ZERO,
    OP_EMBEDDING_FORWARD,
    OP_EMBEDDING_BACKWARD,
    OP_LAYERNORM_FORWARD,
    OP_LAYERNORM_BACKWARD,
    OP_RMSNORM_FORWARD,
    OP_RMSNORM_BACKWARD,
    OP_MATMUL_FORWARD,
    OP_MATMUL_BACKWARD_INPUT,
    OP_MATMUL_BACKWARD_WEIGHT,
    OP_ROPE_FORWARD,
    OP_ROPE_BACKWARD,
    OP_ATTENTION_FORWARD,
    OP_ATTENTION_BACKWARD,
    OP_GELU_FORWARD,
    OP_GELU_BACKWARD,
    OP_SWIGLU_FORWARD,
    OP_SWIGLU_BACKWARD,
    OP_CLASSIFIER,
    OP_LOSS_SUM,
    OP_ALL_REDUCE,     /* queue elements [from, to) on the communicator … */
    OP_REDUCE_SCATTER, /* … which each rank wants its share of */
    OP_ALL_GATHER,     /* … which each rank gives its share of, or its own tensor */
    OP_COMM_WAIT,      /* the stream waits for all but the last `pending` queued */
    OP_NORM_PARTIALS,
    OP_CLIP,
    OP_ADAMW,
    OP_COUNT
};

enum phase { PHASE_FORWARD, PHASE_BACKWARD, PHASE_REDUCE, PHASE_OPTIMIZER };

const char *op_phase_name(enum phase phase); /* "forward" */

/* In which micro-steps of an accumulated step an op of forward or backward runs. */
enum op_when { WHEN_ALWAYS, WHEN_FIRST_MICRO, WHEN_LAST_MICRO, WHEN_BEFORE_LAST_MICRO };

/* What a kernel's `accumulate` is told. */
enum op_accumulate { OVERWRITE, ACCUMULATE, ACCUMULATE_AFTER_FIRST /* micro-step */ };

#define OPERANDS_MAX 10
#define ABSENT 0 /* the tensor that stands for an operand not given */

struct operands {
    int id[OPERANDS_MAX]; /* tensors of the program; ABSENT (0) where not given */
};

struct op {
    enum op_kind kind;
    enum phase phase;
    enum op_when when;
    struct operands operands;
    enum op_accumulate accumulate; /* of weight gradients, losses */
    bool gradient;                 /* OP_CLASSIFIER */
    float factor;                  /* OP_CLASSIFIER, OP_LOSS_SUM */
    int64_t from, to;              /* communication: elements of the first operand */
    int pending;                   /* OP_COMM_WAIT */
};

struct program_tensor {
    const char *name; /* what it is, "qkv"; static text */
    enum memory_owner owner;
    struct tensor tensor; /* data is NULL until bound */
    int base;             /* the tensor this is a view of, or its own index */
    bool fixed;           /* offset was given; else the plan chooses it */
    int64_t offset;       /* bytes, into the arena; for a view into its base */
    int first, last; /* ops that touch it or a view of it first and last; −1: none */
};

struct program {
    struct op *ops;
    int op_count, op_capacity;
    struct program_tensor *tensors; /* [0] is ABSENT */
    int tensor_count, tensor_capacity;
    enum phase phase; /* of the ops being added */
    int64_t red_zone; /* bytes that the plan left free after each planned tensor */

    /* Tensors that outlive the step; ABSENT in a program that lacks them. */
    int control;         /* [CONTROL_COUNT] */
    int tokens, targets; /* I32 [B, T] and [B·T] of the current micro-step */
    int weights, grads;  /* whole arenas, [parameters.elements] */
    int master, first_moment, second_moment;
    int decayed;        /* U8, by ADAMW_BLOCK elements: weight decay applies */
    int owned;          /* I32, the chunks that this rank updates; ABSENT: all */
    int *weight, *grad; /* by parameter: views of `weights` and `grads` */
};

void program_init(struct program *p);
void program_finish(struct program *p); /* zeroed is fine */

/* A shape without bytes; pass 0 for sizes past the rank. */
struct tensor program_shape(
        enum dtype type, int64_t a, int64_t b, int64_t c, int64_t d);

/* A tensor whose place the plan chooses from when it is used. Returns its index. */
int program_tensor(struct program *p, enum memory_owner owner, const char *name,
        struct tensor shape);

/*
 * `bytes` of scratch for one op; ABSENT for 0. It lies among the activations, where
 * others are dead while the op runs: mostly it takes no room of its own.
 */
int program_scratch(struct program *p, size_t bytes);

/* A tensor at a given byte offset, alive all the time. */
int program_fixed(struct program *p, enum memory_owner owner, const char *name,
        struct tensor shape, int64_t offset);

/* Bytes of `base` from `offset` on under another shape; a view of ABSENT is ABSENT. */
int program_view(struct program *p, int base, int64_t offset, struct tensor shape);

/*
 * Append an op in the current phase. The result may be filled in further and is valid
 * until the next op is added.
 */
struct op *program_add(struct program *p, enum op_kind kind, struct operands operands);

/* Put `op` behind the op at `index`, −1: at the front. Indices past it move by one. */
void program_insert(struct program *p, int index, const struct op *op);

/* Put the op at `index` behind the one at `behind`, a later one or itself. Indices
 * between them move by one. */
void program_move(struct program *p, int index, int behind);

/* Index of the last op before index `before` that writes tensor `id` itself, −1: none.
 */
int program_last_write(const struct program *p, int id, int before);

/* Index of the first op that runs once per step, not once per micro-step. */
int program_tail(const struct program *p);

/* Recompute `first` and `last` of every tensor from the ops. */
void program_lifetimes(struct program *p);

const char *op_name(enum op_kind kind); /* the kernel's, "matmul_forward" */

/* Whether it queues work on the communicator. */
bool op_communicates(enum op_kind kind);

/*
 * What the time from its start to the next op's is spent on: waiting for others is
 * PHASE_REDUCE wherever it stands, the norm the optimizer's, and what else stands in
 * PHASE_REDUCE backward's.
 */
enum phase op_timed_as(const struct op *op);

/*
 * How an op kind uses each operand, one letter each: w overwrites, r reads, m reads and
 * writes, a either (by `accumulate`), s scratch.
 */
const char *op_access(enum op_kind kind);
bool op_writes(char access);

/* Whether the op runs in micro-step `micro` of `micros`. */
bool op_runs(const struct op *op, int micro, int micros);

/* Whether an output is added to, in the first micro-step or in a later one. */
bool op_adds(enum op_accumulate accumulate, bool first);

/*
 * Whether every planned tensor is written before it is read, ops of each phase stand
 * together, and no op writes a tensor of another program state than it may. One
 * sentence names the first op at fault. For tests, and asserted where programs are
 * built.
 */
bool program_check(const struct program *p, struct text *err);

#endif
