// int4: one f16 scale for 32 consecutive weights of a row. q in [-8, 7], w ~ scale * q.
//
// Choosing the scale: dividing the group by its signed extreme over about -8 turns the asymmetric
// range to the side that needs it. Of two such divisors the one whose quants explain more of the
// weights wins (the first at a tie); the scale is their least squares fit. On normal weights the
// squared error is 4.4 % below that of -8 alone; a third divisor would gain 1.8 %, and fourteen 4
// %. No STL: per-ISA sources include this file.
#pragma once

#include "quant/format.h"
#include "quant/int8.h"

namespace genfast::int4 {

constexpr int kLow = -8, kHigh = 7;
constexpr float kDivisors[] = {-8.0f, -8.45f};  // both round to -8: see quantise_extreme
constexpr float kLargestScale = 65504;          // f16's largest number
// Groups whose largest weight is below this (no trained weight is) become zeros.
constexpr float kTiny = 1e-30f;
constexpr int64_t kScaleBytes = kPanelRows * 2;
constexpr int64_t kGroupBytes = kScaleBytes + kPanelRows * kGroup / 2;  // one group of one panel

GENFAST_ANYWHERE std::byte* group(std::byte* panel, int64_t index) {
    return panel + index * kGroupBytes;
}
GENFAST_ANYWHERE const std::byte* group(const std::byte* panel, int64_t index) {
    return panel + index * kGroupBytes;
}
// The byte of the group's 512 that holds (row, k), and whether k is its high nibble.
GENFAST_ANYWHERE int byte_of(int row, int k) {
    return (k / 8 * kPanelRows + row) * 4 + k % 4;
}
GENFAST_ANYWHERE bool is_high(int k) {
    return k % 8 >= 4;
}
GENFAST_ANYWHERE int quant_at(const std::byte* group, int row, int k) {
    int byte = int(group[kScaleBytes + byte_of(row, k)]);
    return (is_high(k) ? byte >> 4 : byte & 15) + kLow;
}

static inline int32_t quantise(float w, float inverse) {
    // Clamped before rounding, so that no value leaves the range round_to_int is exact in.
    float x = w * inverse;
    x = x < kLow ? float(kLow) : x;
    return round_to_int(x > kHigh ? float(kHigh) : x);
}

// The same for an inverse that is a divisor over the group's extreme: nothing is below -8.5.
static inline int32_t quantise_extreme(float w, float inverse) {
    const float x = w * inverse;
    return round_to_int(x > kHigh ? float(kHigh) : x);
}

static inline float inverse_of(float scale) {
    float magnitude = scale < 0 ? -scale : scale;
    return magnitude < kTiny ? 0.0f : 1.0f / scale;
}

// The f16 scale for n <= 32 weights.
static inline uint16_t choose_scale(const float* w, int n) {
    float extreme = 0, largest = 0;
    for (int i = 0; i < n; ++i) {
        float magnitude = w[i] < 0 ? -w[i] : w[i];
        if (magnitude > largest) largest = magnitude, extreme = w[i];
    }
    if (largest < kTiny) return 0;
    float best = 0, chosen = 0;
    for (float divisor : kDivisors) {
        float inverse = divisor / extreme, with_w = 0, squared = 0;
        for (int i = 0; i < n; ++i) {
            float q = float(quantise_extreme(w[i], inverse));
            with_w = __builtin_fmaf(w[i], q, with_w);
            squared = __builtin_fmaf(q, q, squared);
        }
        // With scale = sum(w q) / sum(q q), sum((w - scale q)^2) = sum(w w) - sum(w q) scale.
        float scale = with_w / squared, explained = with_w * scale;
        if (explained > best) best = explained, chosen = scale;
    }
    chosen = chosen < -kLargestScale ? -kLargestScale : chosen;
    return f32_to_f16(chosen > kLargestScale ? kLargestScale : chosen);
}

// rows [32, K] f32, finite
static inline void pack_panel(const float* rows, int64_t K, std::byte* panel) {
    for (int64_t g = 0; g * kGroup < K; ++g) {
        uint16_t* scales = reinterpret_cast<uint16_t*>(group(panel, g));
        uint8_t* quants = reinterpret_cast<uint8_t*>(scales + kPanelRows);
        int n = int(K - g * kGroup < kGroup ? K - g * kGroup : kGroup);
        for (int row = 0; row < kPanelRows; ++row) {
            const float* w = rows + row * K + g * kGroup;
            scales[row] = choose_scale(w, n);
            float inverse = inverse_of(f16_to_f32(scales[row]));
            for (int k = 0; k < kGroup; ++k) {
                int biased = (k < n ? quantise(w[k], inverse) : 0) - kLow;
                uint8_t& byte = quants[byte_of(row, k)];
                byte = uint8_t(is_high(k) ? byte | biased << 4 : biased);
            }
        }
    }
}

// Columns [begin, end) of a row.
GENFAST_ANYWHERE void unpack_row(const std::byte* panel, int row, int64_t begin, int64_t end,
                                 float* out) {
    for (int64_t k = begin; k < end; ++k) {
        const std::byte* base = group(panel, k / kGroup);
        float scale = f16_to_f32(reinterpret_cast<const uint16_t*>(base)[row]);
        out[k - begin] = float(quant_at(base, row, int(k % kGroup))) * scale;
    }
}

}  // namespace genfast::int4
