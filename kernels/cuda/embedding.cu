/*
 * Token and position embeddings: out[n] = token_table[tokens[n]] (+ position_table[n
 * mod T]), rows of C elements of s bytes, N = B·T.
 *
 * Floors, in bytes: forward 2·N·C·s (tables come from L2 in part), backward N·C·s for
 * each table given, plus its rows written (read too where it accumulates).
 *
 * The token table's gradient adds rows in the order of their positions, without atomics
 * on floats. A stable radix sort by token, 8 bits a pass, puts positions of one token
 * side by side. Tiles of 32 sorted rows are summed each on its own; what a token has in
 * a single tile goes straight to the table, sums of tokens that cross a tile's end go
 * to partials and are joined in order, so that a token that fills half the batch is no
 * slower than others.
 */
#include "kernels/cuda/lanes.cuh"

enum {
    RADIX_BITS = 8,
    RADIX = 1 << RADIX_BITS, /* also the threads of a block that sorts */
    SORT_WARPS = RADIX / WARP,
    WARP_KEYS = 256, /* neighbouring keys that one warp places */
    CHUNK = SORT_WARPS * WARP_KEYS,
    SCAN_THREADS = 1024,
    TILE = 32, /* sorted rows that one thread adds up */
    BATCH = 8, /* loads of a thread that are under way together */
    JOIN_THREADS = 512
};

template <class T, int W>
__global__ static void gather(T *out, const int32_t *tokens, const T *token_table,
        const T *position_table, int64_t N, int64_t length, int64_t C) {
    int64_t n = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (n >= N) {
        return;
    }
    const T *token = token_table + tokens[n] * C;
    const T *position = position_table ? position_table + n % length * C : nullptr;
    for (int64_t c = threadIdx.x * W; c < C; c += blockDim.x * W) {
        lanes<T, W> x = load_lanes<W>(token + c);
        if (position) {
            lanes<T, W> y = load_lanes<W>(position + c);
#pragma unroll
            for (int j = 0; j < W; j++) {
                x.at[j] = from_float<T>(to_float(x.at[j]) + to_float(y.at[j]));
            }
        }
        store_lanes<W>(out + n * C + c, x);
    }
}

extern "C" bool cuda_embedding_forward(struct stream *stream, struct tensor *out,
        const struct tensor *tokens, const struct tensor *token_table,
        const struct tensor *position_table, struct kernel_error *err) {
    int64_t N = tensor_count(tokens), length = tokens->size[tokens->rank - 1];
    int64_t C = token_table->size[1];
    DISPATCH(out->type, T, {
        constexpr int W = pack<T>::SIZE;
        dim3 block = row_block(C % W ? C : C / W);
        auto kernel = C % W ? gather<T, 1> : gather<T, W>;
        kernel<<<(unsigned)ceil_div(N, block.y), block, 0, stream->handle>>>(
                (T *)out->data, (const int32_t *)tokens->data,
                (const T *)token_table->data,
                tensor_given(position_table) ? (const T *)position_table->data
                                             : nullptr,
                N, length, C);
    });
    return cuda_launched("embedding_forward", err);
}

/* -- the sort ------------------------------------------------------------------------
 */

/* counts[digit][chunk]: how often the digit at `shift` occurs in the chunk. */
__global__ static void __launch_bounds__(RADIX)
        count_digits(int32_t *counts, const int32_t *keys, int64_t N, int shift) {
    __shared__ int32_t count[RADIX];
    count[threadIdx.x] = 0;
    __syncthreads();
    int64_t first = (int64_t)blockIdx.x * CHUNK;
    for (int i = (int)threadIdx.x; i < CHUNK && first + i < N; i += RADIX) {
        // Integers: a sum knows no order.
        atomicAdd(&count[keys[first + i] >> shift & (RADIX - 1)], 1);
    }
    __syncthreads();
    counts[(int64_t)threadIdx.x * gridDim.x + blockIdx.x] = count[threadIdx.x];
}

/* counts[i] = Σ of those before i. One block, a stretch of `counts` per thread. */
__global__ static void __launch_bounds__(SCAN_THREADS)
        scan_counts(int32_t *counts, int64_t total) {
    __shared__ int32_t sums[SCAN_THREADS];
    int64_t stretch = (total + SCAN_THREADS - 1) / SCAN_THREADS;
    int64_t first = min((int64_t)threadIdx.x * stretch, total);
    int64_t last = min(first + stretch, total);
    int32_t sum = 0;
    for (int64_t i = first; i < last; i++) {
        sum += counts[i];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (unsigned apart = 1; apart < SCAN_THREADS; apart *= 2) {
        int32_t before = threadIdx.x >= apart ? sums[threadIdx.x - apart] : 0;
        __syncthreads();
        sums[threadIdx.x] += before;
        __syncthreads();
    }
    int32_t running = sums[threadIdx.x] - sum;
    for (int64_t i = first; i < last; i++) {
        int32_t count = counts[i];
        counts[i] = running;
        running += count;
    }
}

/* Moves keys, and the positions they stand for, to where `counts` says, those of one
 * digit in the order they came. `positions` NULL: 0, 1, 2, … */
__global__ static void __launch_bounds__(RADIX)
        place_keys(int32_t *keys_out, int32_t *positions_out, const int32_t *counts,
                const int32_t *keys, const int32_t *positions, int64_t N, int shift) {
    enum { ROUNDS = WARP_KEYS / WARP };
    __shared__ int32_t next[SORT_WARPS][RADIX];
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    int64_t first = (int64_t)blockIdx.x * CHUNK + warp * WARP_KEYS + lane;
    for (int w = 0; w < SORT_WARPS; w++) {
        next[w][threadIdx.x] = 0;
    }
    __syncthreads();
    int32_t key[ROUNDS], rank[ROUNDS]; // among the warp's keys of the same digit
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        key[i] = first + i * WARP < N ? keys[first + i * WARP] : -1;
    }
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        int digit = key[i] < 0 ? RADIX : key[i] >> shift & (RADIX - 1);
        unsigned same = __match_any_sync(FULL_WARP, digit);
        int before = __popc(same & ((1u << lane) - 1));
        rank[i] = key[i] < 0 ? 0 : next[warp][digit] + before;
        __syncwarp();
        if (key[i] >= 0 && before == 0) {
            next[warp][digit] += __popc(same);
        }
        __syncwarp();
    }
    __syncthreads();
    int32_t running = counts[(int64_t)threadIdx.x * gridDim.x + blockIdx.x];
    for (int w = 0; w < SORT_WARPS; w++) {
        int32_t count = next[w][threadIdx.x];
        next[w][threadIdx.x] = running;
        running += count;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        if (key[i] >= 0) {
            int64_t n = first + i * WARP;
            int32_t to = next[warp][key[i] >> shift & (RADIX - 1)] + rank[i];
            keys_out[to] = key[i];
            positions_out[to] = positions ? positions[n] : (int32_t)n;
        }
    }
}

/* Where things stand in the scratch; each piece starts on 64 bytes. */
struct layout {
    int64_t keys[2], positions[2], counts, partials, bytes; // offsets in bytes
};

static layout layout_of(int64_t N, int64_t C) {
    layout l = {};
    auto piece = [&](int64_t count) {
        int64_t at = l.bytes;
        l.bytes += ceil_div(count * 4, 64) * 64;
        return at;
    };
    for (int i = 0; i < 2; i++) {
        l.keys[i] = piece(N);
        l.positions[i] = piece(N);
    }
    l.counts = piece(ceil_div(N, CHUNK) * RADIX);
    l.partials = piece(ceil_div(N, TILE) * 2 * C);
    return l;
}

extern "C" size_t cuda_embedding_scratch(
        int64_t tokens, int64_t vocab, int64_t channels) {
    (void)vocab;
    return (size_t)layout_of(tokens, channels).bytes;
}

/* Sorts `tokens`, all below V; which of the two buffers holds the result. */
static int sort_tokens(struct stream *stream, char *scratch, const layout &l,
        const int32_t *tokens, int64_t N, int64_t V) {
    unsigned chunks = (unsigned)ceil_div(N, CHUNK);
    int32_t *counts = (int32_t *)(scratch + l.counts);
    const int32_t *keys = tokens, *positions = nullptr;
    int to = 1;
    for (int shift = 0; shift == 0 || (V - 1) >> shift > 0; shift += RADIX_BITS) {
        to = !to;
        int32_t *keys_out = (int32_t *)(scratch + l.keys[to]);
        int32_t *positions_out = (int32_t *)(scratch + l.positions[to]);
        count_digits<<<chunks, RADIX, 0, stream->handle>>>(counts, keys, N, shift);
        scan_counts<<<1, SCAN_THREADS, 0, stream->handle>>>(
                counts, (int64_t)chunks * RADIX);
        place_keys<<<chunks, RADIX, 0, stream->handle>>>(
                keys_out, positions_out, counts, keys, positions, N, shift);
        keys = keys_out;
        positions = positions_out;
    }
    return to;
}

/* -- sums of rows --------------------------------------------------------------------
 */

/* A tile of sorted rows: partials [tiles, 2, C] take the sum of a token begun in a tile
 * before (0), and of one begun here that goes on in the next (1). */
template <class T, class G, int W>
__global__ static void sum_tiles(G *table, float *partials, const T *dout,
        const int32_t *keys, const int32_t *positions, int64_t N, int64_t C,
        bool accumulate) {
    int64_t tile = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    int64_t first = tile * TILE, last = min(first + TILE, N);
    if (first >= N) {
        return;
    }
    int32_t before = first > 0 ? keys[first - 1] : -1;
    int32_t after = last < N ? keys[last] : -1;
    float *head = partials + tile * 2 * C, *tail = head + C;
    for (int64_t c = threadIdx.x * W; c < C; c += blockDim.x * W) {
        int32_t token = keys[first];
        float sum[W] = {};
        for (int64_t i = first; i < last; i += BATCH) {
            lanes<T, W> row[BATCH];
#pragma unroll
            for (int k = 0; k < BATCH; k++) {
                if (i + k < last) {
                    row[k] = load_lanes<W>(dout + positions[i + k] * C + c);
                }
            }
#pragma unroll
            for (int k = 0; k < BATCH; k++) {
                if (i + k < last) {
                    if (keys[i + k] != token) {
                        if (token == before) {
                            put_lanes<W>(head + c, sum, false);
                        } else {
                            put_lanes<W>(table + token * C + c, sum, accumulate);
                        }
                        token = keys[i + k];
#pragma unroll
                        for (int j = 0; j < W; j++) {
                            sum[j] = 0;
                        }
                    }
#pragma unroll
                    for (int j = 0; j < W; j++) {
                        sum[j] += to_float(row[k].at[j]);
                    }
                }
            }
        }
        if (token == before) {
            put_lanes<W>(head + c, sum, false);
        } else if (token == after) {
            put_lanes<W>(tail + c, sum, false);
        } else {
            put_lanes<W>(table + token * C + c, sum, accumulate);
        }
    }
}

/* The last of the tiles whose first key is `token`; it is that of `tile`. */
__device__ static int64_t last_tile_of(
        const int32_t *keys, int64_t tile, int64_t tiles, int32_t token) {
    int64_t low = tile, high = tiles; // the first key of `high` is another, or none
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (keys[middle * TILE] == token) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* sum += the heads of tiles [from, to), in order. */
template <int W>
__device__ static void add_heads(
        float *sum, const float *heads, int64_t from, int64_t to, int64_t C) {
    for (int64_t i = from; i < to; i += BATCH) {
        lanes<float, W> parts[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (i + k < to) {
                parts[k] = load_lanes<W>(heads + (i + k) * 2 * C);
            }
        }
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
#pragma unroll
            for (int j = 0; j < W && i + k < to; j++) {
                sum[j] += parts[k].at[j];
            }
        }
    }
}

/*
 * Tokens that begin in a tile and go on in the next: their partials, in an order that
 * depends on nothing but their number. A block a tile; y shares the following tiles
 * out, as a frequent token has many.
 */
template <class G, int W>
__global__ static void __launch_bounds__(JOIN_THREADS)
        join_tiles(G *table, const float *partials, const int32_t *keys, int64_t N,
                int64_t C, bool accumulate) {
    extern __shared__ float joined[]; // [y][x][W]
    int64_t tile = blockIdx.x;
    int64_t first = tile * TILE, next = first + TILE, tiles = (N + TILE - 1) / TILE;
    if (next >= N || keys[next] != keys[next - 1] ||
            (first > 0 && keys[first - 1] == keys[next])) {
        return;
    }
    int32_t token = keys[next];
    int64_t end = last_tile_of(keys, tile + 1, tiles, token) + 1;
    int64_t each = (end - tile - 2) / blockDim.y + 1;
    int64_t from = tile + 1 + threadIdx.y * each;
    int64_t to = from + each < end ? from + each : end;
    float *mine = joined + (threadIdx.y * blockDim.x + threadIdx.x) * W;
    for (int64_t start = 0; start < C; start += blockDim.x * W) {
        int64_t c = start + threadIdx.x * W;
        float sum[W] = {};
        if (c < C) {
            add_heads<W>(sum, partials + c, from, to, C);
        }
#pragma unroll
        for (int j = 0; j < W; j++) {
            mine[j] = sum[j];
        }
        __syncthreads();
        if (threadIdx.y == 0 && c < C) {
            lanes<float, W> tail = load_lanes<W>(partials + (tile * 2 + 1) * C + c);
#pragma unroll
            for (int j = 0; j < W; j++) {
                sum[j] = tail.at[j];
                for (int y = 0; y < (int)blockDim.y; y++) {
                    sum[j] += mine[y * blockDim.x * W + j];
                }
            }
            put_lanes<W>(table + token * C + c, sum, accumulate);
        }
        __syncthreads();
    }
}

/* Position t: rows t, t + T, t + 2T, … of dout, in order. */
template <class T, class G, int W>
__global__ static void sum_positions(G *table, const T *dout, int64_t length,
        int64_t batch, int64_t C, bool accumulate) {
    int64_t t = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (t >= length) {
        return;
    }
    for (int64_t c = threadIdx.x * W; c < C; c += blockDim.x * W) {
        float sum[W] = {};
#pragma unroll 8
        for (int64_t b = 0; b < batch; b++) {
            lanes<T, W> row = load_lanes<W>(dout + (b * length + t) * C + c);
#pragma unroll
            for (int j = 0; j < W; j++) {
                sum[j] += to_float(row.at[j]);
            }
        }
        put_lanes<W>(table + t * C + c, sum, accumulate);
    }
}

/* Zeroes rows [first, …) of a table; all zero bits are 0 in every type. */
static bool clear_rows(struct stream *stream, const struct tensor *table, int64_t first,
        struct kernel_error *err) {
    size_t row = (size_t)table->size[1] * dtype_size(table->type);
    return cuda_done(cudaMemsetAsync((char *)table->data + (size_t)first * row, 0,
                             (size_t)(table->size[0] - first) * row, stream->handle),
            "embedding_backward", err);
}

template <class T, class G, int W>
static void add_tokens(struct stream *stream, const struct tensor *table, char *scratch,
        const struct tensor *dout, const struct tensor *tokens, bool accumulate) {
    int64_t N = tensor_count(tokens), V = table->size[0], C = table->size[1];
    layout l = layout_of(N, C);
    int sorted = sort_tokens(stream, scratch, l, (const int32_t *)tokens->data, N, V);
    const int32_t *keys = (const int32_t *)(scratch + l.keys[sorted]);
    const int32_t *positions = (const int32_t *)(scratch + l.positions[sorted]);
    float *partials = (float *)(scratch + l.partials);
    dim3 block = row_block(C / W);
    unsigned blocks = (unsigned)ceil_div(ceil_div(N, TILE), block.y);
    sum_tiles<T, G, W><<<blocks, block, 0, stream->handle>>>((G *)table->data, partials,
            (const T *)dout->data, keys, positions, N, C, accumulate);
    dim3 joiners(block.x, JOIN_THREADS / block.x);
    join_tiles<G, W><<<(unsigned)ceil_div(N, TILE), joiners,
            JOIN_THREADS * W * sizeof(float), stream->handle>>>(
            (G *)table->data, partials, keys, N, C, accumulate);
}

template <class T, class G, int W>
static void add_positions(struct stream *stream, const struct tensor *table,
        const struct tensor *dout, int64_t length, int64_t batch, bool accumulate) {
    int64_t C = table->size[1];
    dim3 block = row_block(C / W);
    sum_positions<T, G, W>
            <<<(unsigned)ceil_div(length, block.y), block, 0, stream->handle>>>(
                    (G *)table->data, (const T *)dout->data, length, batch, C,
                    accumulate);
}

/* G is the type of one table, T or float. */
template <class T, class G>
static void add_any(struct stream *stream, const struct tensor *table, char *scratch,
        const struct tensor *dout, const struct tensor *tokens, bool accumulate) {
    constexpr int W = pack<T>::SIZE;
    int64_t C = table->size[1], length = tokens->size[tokens->rank - 1];
    int64_t batch = tensor_count(tokens) / length;
    if (scratch) {
        C % W ? add_tokens<T, G, 1>(stream, table, scratch, dout, tokens, accumulate)
              : add_tokens<T, G, W>(stream, table, scratch, dout, tokens, accumulate);
    } else {
        C % W ? add_positions<T, G, 1>(stream, table, dout, length, batch, accumulate)
              : add_positions<T, G, W>(stream, table, dout, length, batch, accumulate);
    }
}

/* The gradient of a table: by token where there is scratch, else by position. */
static bool add_to_table(struct stream *stream, const struct tensor *table,
        char *scratch, const struct tensor *dout, const struct tensor *tokens,
        bool accumulate, struct kernel_error *err) {
    if (table->type != dout->type && table->type != DTYPE_F32) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "a CUDA embedding's gradient is f32 or %s, as what reaches it, not %s",
                dtype_name(dout->type), dtype_name(table->type));
    }
    DISPATCH(dout->type, T, {
        auto add = table->type == DTYPE_F32 ? add_any<T, float> : add_any<T, T>;
        add(stream, table, scratch, dout, tokens, accumulate);
    });
    return cuda_launched("embedding_backward", err);
}

extern "C" bool cuda_embedding_backward(struct stream *stream,
        struct tensor *dtoken_table, struct tensor *dposition_table,
        struct tensor *scratch, const struct tensor *dout, const struct tensor *tokens,
        bool accumulate, struct kernel_error *err) {
    int64_t length = tokens->size[tokens->rank - 1];
    if (!accumulate && !clear_rows(stream, dtoken_table, 0, err)) {
        return false;
    }
    if (!add_to_table(stream, dtoken_table, (char *)scratch->data, dout, tokens,
                accumulate, err)) {
        return false;
    }
    if (!tensor_given(dposition_table)) {
        return true;
    }
    if (!accumulate && dposition_table->size[0] > length &&
            !clear_rows(stream, dposition_table, length, err)) {
        return false;
    }
    return add_to_table(stream, dposition_table, NULL, dout, tokens, accumulate, err);
}
