// Element types and their exact conversions. Plain bit arithmetic: no STL, so that the per-ISA
// sources may include it.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/anywhere.h"

namespace genfast {

enum class DType : uint8_t { f32, f16, bf16, i8, i32 };

GENFAST_ANYWHERE int itemsize(DType type) {
    switch (type) {
        case DType::f32:
        case DType::i32:
            return 4;
        case DType::f16:
        case DType::bf16:
            return 2;
        case DType::i8:
            return 1;
    }
    return 0;
}

GENFAST_ANYWHERE float bits_to_f32(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

GENFAST_ANYWHERE uint32_t f32_to_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

GENFAST_ANYWHERE float bf16_to_f32(uint16_t value) {
    return bits_to_f32(uint32_t(value) << 16);
}

// Round to nearest, ties to even; NaN stays NaN, and the same one if it was a bfloat16.
GENFAST_ANYWHERE uint16_t f32_to_bf16(float value) {
    uint32_t bits = f32_to_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        uint32_t high = bits >> 16;
        return uint16_t(high & 0x7f ? high : high | 0x40);
    }
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

GENFAST_ANYWHERE float f16_to_f32(uint16_t value) {
    uint32_t sign = uint32_t(value & 0x8000) << 16;
    uint32_t exponent = (value >> 10) & 0x1f, mantissa = value & 0x3ff;
    if (exponent == 0x1f) return bits_to_f32(sign | 0x7f800000u | (mantissa << 13));
    if (exponent != 0) return bits_to_f32(sign | ((exponent + 112) << 23) | (mantissa << 13));
    // Subnormal halves are multiples of 2^-24, which a float holds exactly.
    float magnitude = float(mantissa) * 0x1p-24f;
    return bits_to_f32(sign | f32_to_bits(magnitude));
}

// Round to nearest, ties to even; overflow goes to infinity.
GENFAST_ANYWHERE uint16_t f32_to_f16(float value) {
    uint32_t bits = f32_to_bits(value), sign = (bits >> 16) & 0x8000,
             magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00);
    if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00);
    if (magnitude < 0x38800000u) {
        // Below the smallest normal half: let the float adder round to a multiple of 2^-24.
        uint32_t rounded = f32_to_bits(bits_to_f32(magnitude) + 0.5f) - f32_to_bits(0.5f);
        return uint16_t(sign | rounded);
    }
    uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    return uint16_t(sign | ((rounded - (112u << 23)) >> 13));
}

}  // namespace genfast
