#include "kernels/cuda/heads.h"

#include <assert.h>

#include "kernels/cuda/common.cuh"

/* The same, as the kernel wants it: `width` int4 to a head's row. */
struct layout {
    int64_t seq_len;
    int width, heads; /* of all groups */
    int first[3];     /* head that a group begins with */
    int4 *blocks[3];  /* [B, its heads, T, width] */
    int in_group[3];
};

/* packed [B, T, heads, width]; a block of threads moves one token. */
template <bool SPLIT> __global__ static void move_heads(struct layout l, int4 *packed) {
    int64_t b = blockIdx.x / l.seq_len, t = blockIdx.x - b * l.seq_len;
    int4 *token = packed + (int64_t)blockIdx.x * l.heads * l.width;
    for (int i = threadIdx.x; i < l.heads * l.width; i += blockDim.x) {
        int head = i / l.width, w = i - head * l.width;
        /* Chosen by comparing: an index would put the layout into local memory. */
        bool second = head >= l.first[1], third = head >= l.first[2];
        int first = third ? l.first[2] : second ? l.first[1] : 0;
        int count = third ? l.in_group[2] : second ? l.in_group[1] : l.in_group[0];
        int4 *block = third ? l.blocks[2] : second ? l.blocks[1] : l.blocks[0];
        block += ((b * count + head - first) * l.seq_len + t) * l.width + w;
        if (SPLIT) {
            *block = token[i];
        } else {
            token[i] = *block;
        }
    }
}

static struct layout layout_of(const struct heads *h) {
    struct layout l = {};
    l.seq_len = h->seq_len;
    l.width = (int)(h->row_bytes / 16);
    assert(h->row_bytes % 16 == 0 && h->count >= 1 && h->count <= 3);
    for (int i = 0; i < 3; i++) {
        l.first[i] = l.heads; /* an unused group begins behind the last head */
        if (i < h->count) {
            l.blocks[i] = (int4 *)h->blocks[i];
            l.in_group[i] = (int)h->heads[i];
            l.heads += l.in_group[i];
        }
    }
    return l;
}

template <bool SPLIT>
static bool move(struct stream *stream, const struct heads *h, void *packed,
        struct kernel_error *err) {
    int64_t tokens = h->batch * h->seq_len;
    assert(tokens <= INT32_MAX);
    move_heads<SPLIT><<<(unsigned)tokens, 128, 0, stream->handle>>>(
            layout_of(h), (int4 *)packed);
    return cuda_launched("attention", err);
}

extern "C" bool heads_split(struct stream *stream, const struct heads *h,
        const void *packed, struct kernel_error *err) {
    /* The kernel only reads it here. */
    return move<true>(stream, h, const_cast<void *>(packed), err);
}

extern "C" bool heads_join(struct stream *stream, const struct heads *h, void *packed,
        struct kernel_error *err) {
    return move<false>(stream, h, packed, err);
}
