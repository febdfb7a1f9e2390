// Numbers of 8 bits, E4M3 as OCP defines it: a sign, four bits of exponent (bias 7), three of
// mantissa. The largest is 448, normal numbers end at 2^-6, what lies below are multiples of 2^-9.
// There are no infinities; all ones but for the sign is NaN.
//
// With its bits where a float has the same ones, such a number is 2^-120 of itself, and a multiple
// of 2^-129 where it is not normal: one multiplication, which is exact, makes it right.
#pragma once

#include "core/dtype.h"

namespace genfast::e4m3 {

constexpr float kLargest = 448;
constexpr float kUp = 0x1p120f, kDown = 0x1p-120f;
constexpr uint8_t kMost = 0x7e, kNaN = 0x7f;  // kMost: the largest

GENFAST_ANYWHERE float to_f32(uint8_t bits) {
    if ((bits & kNaN) == kNaN) return bits_to_f32(0x7fc00000u);
    return bits_to_f32(uint32_t(bits & 0x80) << 24 | uint32_t(bits & 0x7f) << 20) * kUp;
}

// Rounded to nearest, ties to even. What is beyond the largest becomes the largest; NaN stays NaN.
GENFAST_ANYWHERE uint8_t from_f32(float x) {
    const uint32_t bits = f32_to_bits(x), sign = bits >> 24 & 0x80;
    const float magnitude = bits_to_f32(bits & 0x7fffffffu);
    if (!(magnitude <= kLargest)) return uint8_t(sign | (magnitude > kLargest ? kMost : kNaN));
    // Added to 2^20 times its power of two (at least 2^-6), a number keeps three bits of mantissa.
    const uint32_t power = bits & 0x7f800000u, least = 121u << 23;
    const float unit = bits_to_f32((power > least ? power : least) + (20u << 23));
    return uint8_t(sign | f32_to_bits((magnitude + unit - unit) * kDown) >> 20);
}

}  // namespace genfast::e4m3
