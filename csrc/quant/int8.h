// int8: rows are rotated (rotation.h), then one scale a row. scale = max|w| / 127, q = w / scale
// rounded to nearest even, w ~ scale * q. Activations are rotated and quantised alike, so that
// their products need no rotation back.
//
// The panel ends with the 32 scales and the 32 row sums. A kernel whose dot product takes unsigned
// activations (a + 128) subtracts 128 * sum(q) with them, exactly.
// No STL: per-ISA sources include this file.
#pragma once

#include "quant/format.h"
#include "quant/rotation.h"

namespace genfast {

// Rounds x * inverse to nearest even by adding and subtracting 1.5 * 2^23: exact for |x| < 2^22.
GENFAST_ANYWHERE int32_t round_to_int(float x) {
    return int32_t((x + 12582912.0f) - 12582912.0f);
}

namespace int8 {

constexpr int kMax = 127;
// Rows whose largest weight is below this (no trained weight is) become zeros: 127 / max overflows.
constexpr float kTiny = 1e-30f;

GENFAST_ANYWHERE float scale_of(float largest) {
    return largest < kTiny ? 0.0f : largest / kMax;
}
GENFAST_ANYWHERE float inverse_of(float largest) {
    return largest < kTiny ? 0.0f : kMax / largest;
}

GENFAST_ANYWHERE int64_t index_in_panel(int row, int64_t k) {
    return (k / 4 * kPanelRows + row) * 4 + k % 4;
}
// The largest magnitude of a row.
static inline float largest_of(const float* w, int64_t K) {
    float largest = 0;
    for (int64_t k = 0; k < K; ++k) {
        const float magnitude = w[k] < 0 ? -w[k] : w[k];
        if (magnitude > largest) largest = magnitude;
    }
    return largest;
}
GENFAST_ANYWHERE float* scales(std::byte* panel, int64_t K) {
    return reinterpret_cast<float*>(panel + padded_k(Format::int8, K) * kPanelRows);
}
GENFAST_ANYWHERE const float* scales(const std::byte* panel, int64_t K) {
    return scales(const_cast<std::byte*>(panel), K);
}
static inline int32_t* row_sums(std::byte* panel, int64_t K) {
    return reinterpret_cast<int32_t*>(scales(panel, K) + kPanelRows);
}
static inline const int32_t* row_sums(const std::byte* panel, int64_t K) {
    return row_sums(const_cast<std::byte*>(panel), K);
}

// rows [32, K] f32, rotated, finite
static inline void pack_panel(const float* rows, int64_t K, std::byte* panel) {
    int8_t* quants = reinterpret_cast<int8_t*>(panel);
    int64_t padded = padded_k(Format::int8, K);
    for (int row = 0; row < kPanelRows; ++row) {
        const float* w = rows + row * K;
        const float largest = largest_of(w, K), inverse = inverse_of(largest);
        int32_t sum = 0;
        for (int64_t k = 0; k < padded; ++k) {
            int32_t q = k < K ? round_to_int(w[k] * inverse) : 0;
            quants[index_in_panel(row, k)] = int8_t(q);
            sum += q;
        }
        scales(panel, K)[row] = scale_of(largest);
        row_sums(panel, K)[row] = sum;
    }
}

// Columns [begin, end) of a row, rotated back; begin is a multiple of 64.
GENFAST_ANYWHERE void unpack_row(const std::byte* panel, int row, int64_t K, int64_t begin,
                                 int64_t end, float* out) {
    const int8_t* quants = reinterpret_cast<const int8_t*>(panel);
    const float scale = scales(panel, K)[row];
    float block[kRotation];
    for (int64_t k = begin; k < end; k += kRotation) {
        const int64_t columns = K - k < kRotation ? K - k : kRotation;
        for (int64_t i = 0; i < columns; ++i)
            block[i] = float(quants[index_in_panel(row, k + i)]) * scale;
        rotate(block, columns);
        for (int64_t i = 0; i < columns && k + i < end; ++i) out[k + i - begin] = block[i];
    }
}

}  // namespace int8
}  // namespace genfast
