/*
 * One AdamW step in one pass: reads gradient, moments and master, writes moments,
 * master and, where it is not the master, the model's rounded copy. 28 bytes an element
 * in bf16 with bf16 gradients, and bound by nothing else.
 */
#include "kernels/cuda/elementwise.cuh"

#include <math.h>

/* What does not change from element to element; beta1, beta2 and what they leave. */
struct constants {
    float beta1, beta2, rest1, rest2, log_beta1, log_beta2, epsilon, weight_decay;
};

struct moves {
    float beta1, beta2, rest1, rest2, factor, rate, spread, keep, epsilon;
};

__device__ __forceinline__ struct moves moves_of(
        const struct constants &c, const float *control) {
    float updates = control[CONTROL_UPDATES], lr = control[CONTROL_LR];
    // 1 − βᵗ by expm1, which keeps its precision where βᵗ is near 1.
    float correct1 = -expm1f(updates * c.log_beta1);
    float correct2 = -expm1f(updates * c.log_beta2);
    return {c.beta1, c.beta2, c.rest1, c.rest2, control[CONTROL_GRAD_FACTOR],
            lr / correct1, 1.f / sqrtf(correct2), fmaf(-lr, c.weight_decay, 1.f),
            c.epsilon};
}

__device__ __forceinline__ void update(
        float *w, float *m, float *v, float grad, const struct moves &k) {
    float g = grad * k.factor;
    *m = k.beta1 * *m + k.rest1 * g;
    *v = k.beta2 * *v + k.rest2 * g * g;
    *w = k.keep * *w - k.rate * *m / (sqrtf(*v) * k.spread + k.epsilon);
}

/*
 * Where element `at` of the moments lies in weights and gradients; elements of one
 * chunk lie together.
 */
__device__ __forceinline__ int64_t place_of(const int32_t *owned, int64_t at) {
    return owned ? (int64_t)owned[at / NORM_CHUNK] * NORM_CHUNK + at % NORM_CHUNK : at;
}

/* weights is NULL where the master is the model's own. */
template <class W, class G>
__global__ static void __launch_bounds__(ELEMENTWISE_THREADS)
        adamw(W *weights, float *master, float *first, float *second, const G *grads,
                const uint8_t *decayed, const int32_t *owned, const float *control,
                struct constants constants, int64_t count) {
    constexpr int N = span_of<float>();
    static_assert(NORM_CHUNK % N == 0, "a thread's elements lie in one chunk");
    typedef span<float, N> part;
    if (control[CONTROL_OVERFLOW] != 0.f) {
        return;
    }
    int64_t at = N * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
    if (at + N <= count) {
        int64_t place = place_of(owned, at), in_master = weights ? at : place;
        span<G, N> g = span<G, N>::load_once(grads + place);
        part m = part::load_once(first + at), v = part::load_once(second + at);
        part w = part::load_once(master + in_master);
        struct moves moves = moves_of(constants, control);
        // A thread's elements lie in one block: N divides ADAMW_BLOCK.
        if (decayed && !decayed[place / ADAMW_BLOCK]) {
            moves.keep = 1.f;
        }
        span<W, N> rounded;
#pragma unroll
        for (int i = 0; i < N; i++) {
            update(&w.at[i], &m.at[i], &v.at[i], to_float(g.at[i]), moves);
            rounded.at[i] = from_float<W>(w.at[i]);
        }
        m.store_once(first + at);
        v.store_once(second + at);
        w.store_once(master + in_master);
        if (weights) {
            rounded.store(weights + place);
        }
        return;
    }
    // No whole chunk ends here, so nothing is listed.
    for (; at < count; at++) {
        struct moves moves = moves_of(constants, control);
        if (decayed && !decayed[at / ADAMW_BLOCK]) {
            moves.keep = 1.f;
        }
        update(&master[at], &first[at], &second[at], to_float(grads[at]), moves);
        if (weights) {
            weights[at] = from_float<W>(master[at]);
        }
    }
}

extern "C" bool cuda_adamw(struct stream *stream, struct tensor *weights,
        struct tensor *master, struct tensor *first_moment,
        struct tensor *second_moment, const struct tensor *grads,
        const struct tensor *decayed, const struct tensor *owned,
        const struct tensor *control, const struct adamw_options *options,
        struct kernel_error *err) {
    int64_t count = tensor_count(first_moment);
    assert(tensor_count(second_moment) == count);
    assert(tensor_given(owned) ? tensor_count(owned) * NORM_CHUNK == count
                               : tensor_count(weights) == count);
    assert(master->type == DTYPE_F32 && first_moment->type == DTYPE_F32 &&
            second_moment->type == DTYPE_F32 && control->type == DTYPE_F32);
    double b1 = options->beta1, b2 = options->beta2;
    struct constants constants = {options->beta1, options->beta2, (float)(1 - b1),
            (float)(1 - b2), (float)log(b1), (float)log(b2), options->epsilon,
            options->weight_decay};
    int64_t each = ELEMENTWISE_THREADS * span_of<float>();
    bool own = weights->data == master->data;
    if (count == 0) {
        return true;
    }
    DISPATCH(weights->type, W,
            DISPATCH(grads->type, G,
                    adamw<<<(unsigned)ceil_div(count, each), ELEMENTWISE_THREADS, 0,
                            stream->handle>>>(own ? NULL : (W *)weights->data,
                            (float *)master->data, (float *)first_moment->data,
                            (float *)second_moment->data, (const G *)grads->data,
                            tensor_given(decayed) ? (const uint8_t *)decayed->data
                                                  : NULL,
                            tensor_given(owned) ? (const int32_t *)owned->data : NULL,
                            (const float *)control->data, constants, count)));
    return cuda_launched("adamw", err);
}
