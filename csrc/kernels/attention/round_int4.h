// How an int4 cache rounds 32 neighbouring d of a key or value. In plain C++ like append.h, without
// fused operations and in an order that compilers vectorise: the same bits from whoever does it, a
// GPU too.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace genfast::GENFAST_ISA {

constexpr int kKvGroup = 32;  // d of an int4 cache that share a scale and are rotated together
constexpr float kLowest = -8, kHighest = 7;
constexpr uint16_t kNotFinite = 0x7e00;  // NaN as a scale
constexpr int kDivisors = 3;

GENFAST_ANYWHERE float divisor(int i) {
    return i == 0 ? -8.0f : i == 1 ? -7.4f : -8.8f;
}

// x + 1.5 * 2^23 is rounded to the nearest integer, ties to even.
constexpr float kRounder = 12582912;

GENFAST_ANYWHERE float round_nibble(float x, float inverse) {
    float q = x * inverse;
    q = q < kLowest ? kLowest : q;
    q = q > kHighest ? kHighest : q;
    return (q + kRounder) - kRounder;
}
GENFAST_ANYWHERE uint8_t nibble_of(float x, float inverse) {
    return uint8_t(f32_to_bits(round_nibble(x, inverse) + (kRounder - kLowest)));
}

// The idea of int4 weights (quant/int4.h): of three scales that put the extreme near -8, the least
// squares fit of the one that explains most. A strong group's saturate at f16's largest number.
// with_x: the sum of x q; squared: that of q q.
GENFAST_ANYWHERE void consider_scale(float with_x, float squared, float* best, float* chosen) {
    float scale = with_x / squared, explained = with_x * scale;
    if (explained > *best) *best = explained, *chosen = scale;
}
GENFAST_ANYWHERE uint16_t stored_scale(float chosen) {
    chosen = chosen < -65504 ? -65504 : chosen;
    return f32_to_f16(chosen > 65504 ? 65504 : chosen);
}
GENFAST_ANYWHERE float inverse_scale(uint16_t scale) {
    float step = f16_to_f32(scale);
    return scale != kNotFinite && step != 0 ? 1 / step : 0;
}
// So small that 8 / extreme might overflow: zeros.
GENFAST_ANYWHERE bool is_tiny(float low, float high) {
    return -low < 1e-30f && high < 1e-30f;
}

// x <- H x for the Hadamard matrix H of 32 rows; H H = 32. Five times the same step, because it
// moves the bits of an element's index on by one.
template <class Float>
static inline void rotate_group(Float* x) {
    for (int step = 0; step < 5; ++step) {
        Float y[kKvGroup];
        for (int i = 0; i < kKvGroup / 2; ++i) {
            y[i] = x[2 * i] + x[2 * i + 1];
            y[i + kKvGroup / 2] = x[2 * i] - x[2 * i + 1];
        }
        for (int i = 0; i < kKvGroup; ++i) x[i] = y[i];
    }
}

// Halves are added to halves: lanes, for a compiler.
static inline float sum_group(float* x) {
    for (int n = kKvGroup / 2; n > 0; n /= 2)
        for (int i = 0; i < n; ++i) x[i] += x[i + n];
    return x[0];
}

static inline uint16_t choose_group_scale(const float* x, float extreme) {
    float best = 0, chosen = 0;
    for (int i = 0; i < kDivisors; ++i) {
        float with_x[kKvGroup], squared[kKvGroup], inverse = divisor(i) / extreme;
        for (int j = 0; j < kKvGroup; ++j) {
            float q = round_nibble(x[j], inverse);
            with_x[j] = x[j] * q;
            squared[j] = q * q;
        }
        consider_scale(sum_group(with_x), sum_group(squared), &best, &chosen);
    }
    return stored_scale(chosen);
}

// Nibbles, a byte each, of x [32]; returns their f16 scale: x ~ (nibble - 8) * scale.
static inline uint16_t round_group(const float* x, uint8_t* nibbles) {
    uint32_t largest = 0;
    float low = 0, high = 0;
    for (int i = 0; i < kKvGroup; ++i) {
        uint32_t magnitude = f32_to_bits(x[i]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    bool finite = largest < 0x7f800000u;
    uint16_t scale = finite ? 0 : kNotFinite;
    if (finite && !is_tiny(low, high)) scale = choose_group_scale(x, -low > high ? low : high);
    float inverse = inverse_scale(scale);
    for (int i = 0; i < kKvGroup; ++i) nibbles[i] = nibble_of(finite ? x[i] : 0, inverse);
    return scale;
}

}  // namespace genfast::GENFAST_ISA
