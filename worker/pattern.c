#include "worker/pattern.h"

#include <assert.h>
#include <math.h>

#include "kernels/convert.h"

/*
 * Three bits for each rank out of one mixed word for RANKS_A_WORD of them: numbers from
 * −4 to 3, so that 64 ranks stay within ±256, up to where bf16 has every whole number.
 */
enum { BITS = 3, RANKS_A_WORD = 21, LEAST = -4 };

static uint64_t word_of(int64_t index, int group) {
    uint64_t x = (uint64_t)index + 1 + (uint64_t)group * 0xd1342543de82ef95u;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 31;
    x *= 0xbf58476d1ce4e5b9u;
    return x ^ x >> 29;
}

static int part_of(uint64_t word, int place) {
    return (int)(word >> BITS * place & 7) + LEAST;
}

void pattern_fill(void *out, enum dtype type, int rank, int64_t first, int64_t count) {
    assert(type == DTYPE_F32 || type == DTYPE_BF16 || type == DTYPE_F16);
    int group = rank / RANKS_A_WORD, place = rank % RANKS_A_WORD;
    uint16_t halves[8];
    for (int i = 0; i < 8; i++) {
        float value = (float)(i + LEAST);
        halves[i] = type == DTYPE_F16 ? f16_from_f32(value) : bf16_from_f32(value);
    }
    for (int64_t i = 0; i < count; i++) {
        int part = part_of(word_of(first + i, group), place);
        if (type == DTYPE_F32) {
            ((float *)out)[i] = (float)part;
        } else {
            ((uint16_t *)out)[i] = halves[part - LEAST];
        }
    }
}

static int sum_of(int world, int64_t index) {
    int sum = 0;
    for (int start = 0; start < world; start += RANKS_A_WORD) {
        uint64_t word = word_of(index, start / RANKS_A_WORD);
        int count = world - start < RANKS_A_WORD ? world - start : RANKS_A_WORD;
        for (int place = 0; place < count; place++) {
            sum += part_of(word, place);
        }
    }
    return sum;
}

double pattern_sum(int world, int64_t index) {
    return sum_of(world, index);
}

static float element(const void *data, enum dtype type, int64_t i) {
    return type == DTYPE_F32    ? ((const float *)data)[i]
           : type == DTYPE_BF16 ? f32_from_bf16(((const uint16_t *)data)[i])
                                : f32_from_f16(((const uint16_t *)data)[i]);
}

int64_t pattern_find_wrong(const void *sum, enum dtype type, int world, int64_t first,
        int64_t count, double *found) {
    for (int64_t i = 0; i < count; i++) {
        float value = element(sum, type, i);
        // What is no number equals nothing.
        if (!(value == (float)sum_of(world, first + i))) {
            *found = value;
            return first + i;
        }
    }
    return -1;
}

void pattern_break(void *out, enum dtype type, int64_t at) {
    if (type == DTYPE_F32) {
        ((float *)out)[at] = NAN;
    } else {
        ((uint16_t *)out)[at] =
                type == DTYPE_F16 ? f16_from_f32(NAN) : bf16_from_f32(NAN);
    }
}
