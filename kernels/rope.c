// Rotary positions (Su et al.), halves convention: channel d turns with d + D/2 by the
// angle t × theta^(−2d/D). Queries and keys only.
#include <math.h>

#include "kernels/reference.h"

static bool turn(struct tensor *qkv, int64_t heads, int64_t kv_heads, float theta,
        double direction) {
    int64_t B = qkv->size[0], T = qkv->size[1], D = qkv->size[3];
    assert(qkv->rank == 4 && qkv->size[2] == heads + 2 * kv_heads && D % 2 == 0);
    for (int64_t b = 0; b < B; b++) {
        for (int64_t t = 0; t < T; t++) {
            for (int64_t d = 0; d < D / 2; d++) {
                double angle = (double)t * pow(theta, -2.0 * (double)d / (double)D);
                real c = (real)cos(angle), s = (real)(direction * sin(angle));
                for (int64_t h = 0; h < heads + kv_heads; h++) {
                    int64_t at = ((b * T + t) * (heads + 2 * kv_heads) + h) * D + d;
                    real x = load(qkv, at), y = load(qkv, at + D / 2);
                    store(qkv, at, x * c - y * s);
                    store(qkv, at + D / 2, y * c + x * s);
                }
            }
        }
    }
    return true;
}

bool REF(rope_forward)(struct stream *stream, struct tensor *qkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *err) {
    (void)stream;
    (void)err;
    return turn(qkv, heads, kv_heads, theta, 1);
}

bool REF(rope_backward)(struct stream *stream, struct tensor *dqkv, int64_t heads,
        int64_t kv_heads, float theta, struct kernel_error *err) {
    (void)stream;
    (void)err;
    return turn(dqkv, heads, kv_heads, theta, -1);
}
