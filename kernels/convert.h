/*
 * Conversions between fp32 and the 16-bit types, as the hardware does them: to nearest,
 * ties to even; overflow to infinity; subnormals kept; NaN stays NaN (quiet, payload
 * cut). Without branches, and bodies here, so that loops around them vectorise.
 */
#ifndef KERNELS_CONVERT_H
#define KERNELS_CONVERT_H

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float f32_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline float f32_from_bf16(uint16_t half) {
    return f32_from_bits((uint32_t)half << 16);
}

static inline uint16_t bf16_from_f32(float value) {
    uint32_t bits = f32_bits(value);
    uint32_t nan = bits >> 16 | 0x40;
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

static inline float f32_from_f16(uint16_t half) {
    uint32_t exponent = half & 0x7c00;
    uint32_t bits = ((uint32_t)half & 0x7fff) << 13;
    uint32_t normal = bits + ((127u - 15) << 23);
    uint32_t special = bits | 0xffu << 23; // infinity and NaN
    // A subnormal is an integer times 2^−24.
    uint32_t tiny = f32_bits((float)(int32_t)(half & 0x3ff) * 0x1p-24f);
    uint32_t magnitude = exponent == 0 ? tiny : exponent == 0x7c00 ? special : normal;
    return f32_from_bits(magnitude | ((uint32_t)half & 0x8000) << 16);
}

static inline uint16_t f16_from_f32(float value) {
    uint32_t bits = f32_bits(value);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    uint32_t nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
    uint32_t normal =
            (magnitude - ((127u - 15) << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    // Adding 1/2 shifts a subnormal's bits to the end of the mantissa and rounds them.
    uint32_t tiny = f32_bits(f32_from_bits(magnitude) + 0.5f) - f32_bits(0.5f);
    uint32_t finite = magnitude < 113u << 23 ? tiny : normal;
    uint32_t large = magnitude > 0x7f800000 ? nan : 0x7c00;
    return (uint16_t)((magnitude >= 143u << 23 ? large : finite) | sign);
}

/* The value to 10 mantissa bits: what a tf32 product reads of an fp32 operand. */
static inline float f32_to_tf32(float value) {
    uint32_t bits = f32_bits(value);
    uint32_t rounded = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
    return f32_from_bits((bits & 0x7f800000) == 0x7f800000 ? bits : rounded);
}

/* To fp32 with the last bit odd where inexact, so that rounding once more to 16 bits
 * gives what rounding `value` directly would. */
static inline float f32_from_f64_odd(double value) {
    float nearest = (float)value;
    uint32_t bits = f32_bits(nearest);
    double wide = nearest;
    if (wide != value && value == value && !(bits & 1)) {
        double size = value < 0 ? -value : value, got = wide < 0 ? -wide : wide;
        bits = got > size ? bits - 1 : bits + 1;
    }
    return f32_from_bits(bits);
}

#endif
