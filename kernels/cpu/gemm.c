// Registers hold a tile of C, GEMM_TALL rows by two vectors; each k adds one column of
// A times one row of a panel. AVX-512: 24 of 32 registers accumulate.
#include "kernels/cpu/gemm.h"

#include <string.h>

// k is cut so that a panel's part stays in the first-level cache over the rows.
#define GEMM_DEEP 256

typedef float vector
        __attribute__((vector_size(4 * VECTOR_FLOATS), aligned(4), may_alias));

// The smallest vectors, for transposing four by four.
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

static inline __attribute__((always_inline)) void tile(float *c, int64_t stride,
        bool accumulate, const float *bias, const float *a, int64_t row, int64_t column,
        const float *panel, int64_t k, int64_t width, const int rows) {
    vector sum[GEMM_TALL][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        sum[i][0] = sum[i][1] = (vector){0};
    }
    for (int64_t p = 0; p < k; p++) {
        vector b0 = *(const vector *)(panel + p * GEMM_COLUMNS);
        vector b1 = *(const vector *)(panel + p * GEMM_COLUMNS + VECTOR_FLOATS);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            float x = a[i * row + p * column];
            sum[i][0] += x * b0;
            sum[i][1] += x * b1;
        }
    }
    if (width == GEMM_COLUMNS) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            vector *to = (vector *)(c + i * stride);
            vector *to1 = (vector *)(c + i * stride + VECTOR_FLOATS);
            vector s0 = sum[i][0], s1 = sum[i][1];
            if (bias) {
                s0 += *(const vector *)bias;
                s1 += *(const vector *)(bias + VECTOR_FLOATS);
            }
            if (accumulate) {
                s0 += *to;
                s1 += *to1;
            }
            *to = s0;
            *to1 = s1;
        }
        return;
    }
    for (int i = 0; i < rows; i++) {
        float line[GEMM_COLUMNS] ALIGNED;
        memcpy(line, sum[i], sizeof(line));
        for (int64_t j = 0; j < width; j++) {
            float value = line[j] + (bias ? bias[j] : 0);
            c[i * stride + j] = accumulate ? c[i * stride + j] + value : value;
        }
    }
}

// Where A's columns lie side by side in memory, or its rows do: each has its own code,
// since the stride that is 1 then costs nothing.
#define TILE(rows)                                                                     \
    static void tile_##rows##_row(float *c, int64_t stride, bool accumulate,           \
            const float *bias, const float *a, int64_t row, const float *panel,        \
            int64_t k, int64_t width) {                                                \
        tile(c, stride, accumulate, bias, a, row, 1, panel, k, width, rows);           \
    }                                                                                  \
    static void tile_##rows##_column(float *c, int64_t stride, bool accumulate,        \
            const float *bias, const float *a, int64_t column, const float *panel,     \
            int64_t k, int64_t width) {                                                \
        tile(c, stride, accumulate, bias, a, 1, column, panel, k, width, rows);        \
    }

typedef void (*tile_fn)(float *c, int64_t stride, bool accumulate, const float *bias,
        const float *a, int64_t other, const float *panel, int64_t k, int64_t width);

#if VECTOR_FLOATS == 16
TILE(12)
TILE(8)
TILE(4)
TILE(1)
static const struct {
    int rows;
    tile_fn row, column;
} tiles[] = {{12, tile_12_row, tile_12_column}, {8, tile_8_row, tile_8_column},
        {4, tile_4_row, tile_4_column}, {1, tile_1_row, tile_1_column}};
#else
TILE(6)
TILE(3)
TILE(1)
static const struct {
    int rows;
    tile_fn row, column;
} tiles[] = {{6, tile_6_row, tile_6_column}, {3, tile_3_row, tile_3_column},
        {1, tile_1_row, tile_1_column}};
#endif

void CPU(gemm_block)(float *c, int64_t stride, bool accumulate, const float *bias,
        const float *a, int64_t row, int64_t column, const float *panels, int64_t depth,
        int64_t m, int64_t n, int64_t k) {
    for (int64_t j = 0; j < n; j += GEMM_COLUMNS) {
        int64_t width = n - j < GEMM_COLUMNS ? n - j : GEMM_COLUMNS;
        for (int64_t p = 0; p < k || p == 0; p += GEMM_DEEP) {
            int64_t deep = k - p < GEMM_DEEP ? k - p : GEMM_DEEP;
            const float *panel = panels + j * depth + p * GEMM_COLUMNS;
            int64_t i = 0;
            for (size_t t = 0; t < sizeof(tiles) / sizeof(*tiles); t++) {
                for (; m - i >= tiles[t].rows; i += tiles[t].rows) {
                    tile_fn fn = column == 1 ? tiles[t].row : tiles[t].column;
                    fn(c + i * stride + j, stride, accumulate || p > 0,
                            p == 0 && bias ? bias + j : NULL, a + i * row + p * column,
                            column == 1 ? row : column, panel, deep, width);
                }
            }
        }
    }
}

// to[p·GEMM_COLUMNS + j] = from[j·stride + p], four by four.
static void transpose(
        float *restrict to, const float *restrict from, int64_t stride, int64_t k) {
    for (int64_t j = 0; j < GEMM_COLUMNS; j += 4) {
        const float *f = from + j * stride;
        int64_t p = 0;
        for (; p + 4 <= k; p += 4) {
            quad r0 = *(const quad *)(f + p), r1 = *(const quad *)(f + stride + p);
            quad r2 = *(const quad *)(f + 2 * stride + p);
            quad r3 = *(const quad *)(f + 3 * stride + p);
            quad low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5);
            quad low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
            quad high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
            quad high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
            float *t = to + p * GEMM_COLUMNS + j;
            *(quad *)t = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
            *(quad *)(t + GEMM_COLUMNS) =
                    __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
            *(quad *)(t + 2 * GEMM_COLUMNS) =
                    __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
            *(quad *)(t + 3 * GEMM_COLUMNS) =
                    __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
        }
        for (; p < k; p++) {
            for (int64_t i = 0; i < 4; i++) {
                to[p * GEMM_COLUMNS + j + i] = f[i * stride + p];
            }
        }
    }
}

// `count` floats, a whole number of vectors known where this is inlined.
static inline void copy_vectors(float *to, const float *from, int count) {
    for (int i = 0; i < count; i += VECTOR_FLOATS) {
        *(vector *)(to + i) = *(const vector *)(from + i);
    }
}

// A run of a matrix's neighbours as floats.
static void widen(
        float *to, const struct gemm_matrix *from, int64_t at, int64_t count) {
    load_floats(to, from->tensor, from->offset + at, count);
    if (from->tf32 && from->tensor->type == DTYPE_F32) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            to[i] = f32_to_tf32(to[i]);
        }
    }
}

static bool is_float(const struct gemm_matrix *m) {
    return m->tensor->type == DTYPE_F32 && !m->tf32;
}

void CPU(gemm_pack)(float *panel, const struct gemm_matrix *b, int64_t k, int64_t first,
        int64_t count) {
    if (b->column == 1 && is_float(b) && count == GEMM_COLUMNS) {
        const float *from = (const float *)b->tensor->data + b->offset + first;
        for (int64_t p = 0; p < k; p++) {
            copy_vectors(panel + p * GEMM_COLUMNS, from + p * b->row, GEMM_COLUMNS);
        }
        return;
    }
    if (b->column == 1) { // rows of B are rows of the panel
        for (int64_t p = 0; p < k; p++) {
            float *to = panel + p * GEMM_COLUMNS;
            widen(to, b, p * b->row + first, count);
            for (int64_t j = count; j < GEMM_COLUMNS; j++) {
                to[j] = 0;
            }
        }
        return;
    }
    if (is_float(b) && count == GEMM_COLUMNS) {
        transpose(panel, (const float *)b->tensor->data + b->offset + first * b->column,
                b->column, k);
        return;
    }
    for (int64_t p = 0; p < k; p += 64) {
        float room[GEMM_COLUMNS * 64] ALIGNED;
        int64_t deep = k - p < 64 ? k - p : 64;
        for (int64_t j = 0; j < count; j++) {
            widen(room + j * 64, b, (first + j) * b->column + p, deep);
        }
        memset(room + count * 64, 0,
                (size_t)(GEMM_COLUMNS - count) * 64 * sizeof(*room));
        transpose(panel + p * GEMM_COLUMNS, room, 64, deep);
    }
}

void CPU(gemm_pack_all)(
        float *panels, const struct gemm_matrix *b, int64_t k, int64_t n) {
    for (int64_t j = 0; j < n; j += GEMM_COLUMNS) {
        int64_t width = n - j < GEMM_COLUMNS ? n - j : GEMM_COLUMNS;
        CPU(gemm_pack)(panels + j * k, b, k, j, width);
    }
}

const float *CPU(gemm_rows)(float *room, const struct gemm_matrix *a, int64_t k,
        int64_t first, int64_t count, int64_t *row, int64_t *column) {
    if (is_float(a) && a->column == 1) {
        *row = a->row;
        *column = 1;
        return (const float *)a->tensor->data + a->offset + first * a->row;
    }
    if (a->column == 1) {
        for (int64_t i = 0; i < count; i++) {
            widen(room + i * k, a, (first + i) * a->row, k);
        }
        *row = k;
        *column = 1;
    } else {
        const float *from = (const float *)a->tensor->data + a->offset + first;
        bool whole = is_float(a) && count == GEMM_ROWS; // a copy of known size
        for (int64_t p = 0; p < k; p++) {
            if (whole) {
                copy_vectors(room + p * GEMM_ROWS, from + p * a->column, GEMM_ROWS);
            } else {
                widen(room + p * count, a, p * a->column + first, count);
            }
        }
        *row = 1;
        *column = count;
    }
    return room;
}
