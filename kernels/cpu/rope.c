// Angles grow from position to position by a rotation in double, started afresh every
// few positions: no cosine per element.
#include <math.h>

#include "kernels/cpu/ops.h"

enum { POSITIONS = 32, PAIRS = 64 };

// One head's pairs [0, n) of channel d and d + D/2.
static inline void turn_head(struct tensor *qkv, int64_t at, int64_t apart,
        const float *restrict c, const float *restrict s, int64_t n) {
    float room[2][PAIRS] ALIGNED;
    float *x = write_floats(room[0], qkv, at),
          *y = write_floats(room[1], qkv, at + apart);
    if (qkv->type != DTYPE_F32) {
        load_floats(x, qkv, at, n);
        load_floats(y, qkv, at + apart, n);
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float left = x[i], right = y[i];
        x[i] = left * c[i] - right * s[i];
        y[i] = right * c[i] + left * s[i];
    }
    wrote_floats(qkv, at, x, n);
    wrote_floats(qkv, at + apart, y, n);
}

// Positions [first, last), pairs [d, d + n), all batches and heads.
static void turn_block(struct tensor *qkv, int64_t turned, float theta,
        double direction, int64_t first, int64_t last, int64_t d, int64_t n) {
    int64_t B = qkv->size[0], T = qkv->size[1], heads = qkv->size[2], D = qkv->size[3];
    double c[PAIRS], s[PAIRS], step_c[PAIRS], step_s[PAIRS];
    float narrow_c[PAIRS] ALIGNED, narrow_s[PAIRS] ALIGNED;
    for (int64_t i = 0; i < n; i++) {
        double angle = direction * pow(theta, -2.0 * (double)(d + i) / (double)D);
        c[i] = cos((double)first * angle);
        s[i] = sin((double)first * angle);
        step_c[i] = cos(angle);
        step_s[i] = sin(angle);
    }
    for (int64_t t = first; t < last; t++) {
        for (int64_t i = 0; i < n; i++) {
            narrow_c[i] = (float)c[i];
            narrow_s[i] = (float)s[i];
            double next = c[i] * step_c[i] - s[i] * step_s[i];
            s[i] = s[i] * step_c[i] + c[i] * step_s[i];
            c[i] = next;
        }
        for (int64_t b = 0; b < B; b++) {
            for (int64_t h = 0; h < turned; h++) {
                int64_t at = ((b * T + t) * heads + h) * D + d;
                turn_head(qkv, at, D / 2, narrow_c, narrow_s, n);
            }
        }
    }
}

static bool turn(struct stream *stream, struct tensor *qkv, int64_t heads,
        int64_t kv_heads, float theta, double direction) {
    int64_t T = qkv->size[1], D = qkv->size[3];
    assert(qkv->rank == 4 && qkv->size[2] == heads + 2 * kv_heads && D % 2 == 0);
    int threads = threads_for(stream, tensor_bytes(qkv));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t t = 0; t < T; t += POSITIONS) {
        for (int64_t d = 0; d < D / 2; d += PAIRS) {
            turn_block(qkv, heads + kv_heads, theta, direction, t,
                    min_of(t + POSITIONS, T), d, min_of(PAIRS, D / 2 - d));
        }
    }
    return true;
}

bool CPU(rope_forward)(struct stream *stream, struct tensor *qkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *err) {
    (void)err;
    return turn(stream, qkv, heads, kv_heads, theta, 1);
}

bool CPU(rope_backward)(struct stream *stream, struct tensor *dqkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *err) {
    (void)err;
    return turn(stream, dqkv, heads, kv_heads, theta, -1);
}
