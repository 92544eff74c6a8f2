#include "worker/shape.h"

static void resolve_sizes(struct shape *s, const struct engine_options *o) {
    const struct params *p = o->params;
    s->kernels = o->kernels;
    s->gpt = params_integer(p, PARAM_ARCH) == ARCH_GPT;
    s->layers = params_integer(p, PARAM_LAYERS);
    s->channels = params_integer(p, PARAM_D_MODEL);
    s->heads = params_integer(p, PARAM_HEADS);
    s->kv_heads = params_kv_heads(p);
    s->d_ff = params_d_ff(p);
    s->vocab = o->vocab;
    s->seq_len = params_integer(p, PARAM_SEQ_LEN);
    s->batch = o->batch;
    s->rows = s->batch * s->seq_len;
    s->accumulate = params_integer(p, PARAM_ACCUMULATE);
    s->world = o->world;
    s->threads = o->threads ? o->threads : engine_threads(p, o->world);
    s->recompute = params_integer(p, PARAM_RECOMPUTE);
    if (params_integer(p, PARAM_CHECKPOINT) == CHECKPOINT_BLOCK) {
        s->segment = params_integer(p, PARAM_CHECKPOINT_EVERY);
    }
    s->attention_shape = (struct attention_shape){.batch = s->batch,
            .seq_len = s->seq_len,
            .heads = s->heads,
            .kv_heads = s->kv_heads,
            .head_dim = s->channels / s->heads,
            .window = params_integer(p, PARAM_WINDOW),
            .deterministic =
                    params_integer(p, PARAM_DETERMINISTIC) == DETERMINISTIC_ON};
}

static bool resolve_types(struct shape *s, const struct engine_options *o,
        bool *unsupported, struct text *err) {
    int64_t precision = params_integer(o->params, PARAM_PRECISION);
    int64_t grad = params_integer(o->params, PARAM_GRAD);
    s->type = precision == PRECISION_BF16   ? DTYPE_BF16
              : precision == PRECISION_FP16 ? DTYPE_F16
                                            : DTYPE_F32;
    s->exact = DTYPE_F32;
    s->grad = grad == GRAD_FP32 || s->accumulate > 1 ? DTYPE_F32 : s->type;
    if (grad == GRAD_BF16) {
        s->grad = DTYPE_BF16;
        if (s->type != DTYPE_BF16) {
            *unsupported = true;
            return text_fail(err, "'grad: bf16' needs 'precision: bf16', not '%s'",
                    params_choice(o->params, PARAM_PRECISION));
        }
    }
    if (o->double_precision) {
        s->type = s->grad = s->exact = DTYPE_F64;
    }
    return true;
}

static bool resolve_attention(struct shape *s, const struct engine_options *o,
        bool *unsupported, struct text *err) {
    const char *name = params_choice(o->params, PARAM_KERNEL);
    s->attention = o->kernels->attention(name);
    if (!s->attention) {
        *unsupported = true;
        return text_fail(err, "this worker ('%s') has no attention kernel '%s'",
                o->kernels->name, name);
    }
    struct kernel_error why = {0};
    if (!s->attention->plan(
                &s->attention_shape, s->type, s->threads, &s->attention_bytes, &why)) {
        *unsupported = why.kind == KERNEL_UNSUPPORTED;
        return text_fail(err, "kernel %s: %s", name, why.sentence);
    }
    return true;
}

bool shape_init(struct shape *s, const struct engine_options *options,
        bool *unsupported, struct text *err) {
    const struct params *p = options->params;
    int64_t ddp = params_integer(p, PARAM_DDP);
    *s = (struct shape){0};
    *unsupported = false;
    resolve_sizes(s, options);
    if (params_integer(p, PARAM_GRAPH) == GRAPH_ON && !options->kernels->graph_begin) {
        *unsupported = true;
        return text_fail(err, "this worker ('%s') cannot run a step as one graph",
                options->kernels->name);
    }
    if (options->world > 1 && ddp == DDP_NONE) {
        return text_fail(
                err, "%d ranks need a wrapper: 'ddp' is 'none'", options->world);
    }
    return resolve_types(s, options, unsupported, err) &&
           resolve_attention(s, options, unsupported, err);
}

/* -- FLOPs ---------------------------------------------------------------------------
 */

double shape_seen_pairs(const struct attention_shape *a) {
    int64_t window = a->window && a->window < a->seq_len ? a->window : a->seq_len;
    return (double)window * (double)(window + 1) / 2 +
           (double)(a->seq_len - window) * (double)window;
}

double shape_flops_per_token(const struct shape *s, bool recomputation) {
    double c = (double)s->channels, ff = (double)s->d_ff, layers = (double)s->layers;
    double heads = (double)(s->heads + 2 * s->kv_heads);
    double qkv = heads * (double)s->attention_shape.head_dim * c;
    double down = c * ff, up = s->gpt ? c * ff : 2 * c * ff;
    double block = qkv + c * c + up + down;
    double keys = shape_seen_pairs(&s->attention_shape) / (double)s->seq_len;
    double flops = 6 * (layers * block + (double)s->vocab * c) + 12 * layers * c * keys;
    if (recomputation && s->segment) {
        double segments = (double)((s->layers + s->segment - 1) / s->segment);
        // A segment's last mlp product is not needed again.
        flops += 2 * (layers * block - segments * down) + 4 * layers * c * keys;
    }
    return flops;
}
