// Weight formats and how a packed matrix lies in memory.
//
// A matrix [N, K] (N output features) is cut into panels of 32 rows; a panel is one sequential
// stream that a kernel reads once. Inside a panel the K axis is outermost, so one vector load gives
// the same k (or k-group) of 16 rows: no horizontal sums, and every output has its own accumulator
// chain.
//
//   f32   [K][32] f32
//   f16   [K][32] f16
//   bf16  [K/2][32][2] bf16                       a dword holds two consecutive k of one row
//   int8  [K/4][32][4] s8, then 32 f32 scales, then 32 s32 row sums
//   fp8   [K/4][32][4] e4m3 (core/e4m3.h), then 32 f32 scales
//   int4  per group of 32 k: 32 f16 scales, then [4][32][4] bytes; byte j of k-step s (8 k a step)
//         holds k = 8s + j in its low nibble and 8s + 4 + j in its high one, biased by 8
//
// A gated matrix holds the rows of gate [F, K] and up [F, K] (N = 2F), sixteen of each to a panel,
// so that both halves of an output meet in one: a matmul over it gives activation(gate) * up.
//
// Rows beyond N and columns beyond K are zeros. Symmetric quantisation: w = scale * q with q in
// [-127, 127] (int8, one scale a row, rotated: rotation.h) or [-8, 7] (int4, one scale a row and
// group), or a number of 8 bits (fp8, one scale a row).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace genfast {

enum class Format : uint8_t { f32, f16, bf16, int8, int4, fp8 };

// Of the packed bytes, as the packed cache keeps them: raise it whenever a weight packs to other
// bytes than before (panels, choice of scales, rounding), or old caches would be taken for good.
constexpr int kLayoutVersion = 2;

constexpr int kPanelRows = 32;
constexpr int kGroup = 32;  // int4: columns that share a scale

GENFAST_ANYWHERE int64_t round_up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}

// Columns as stored: K padded to what one step of the format's kernel consumes.
GENFAST_ANYWHERE int64_t padded_k(Format format, int64_t k) {
    switch (format) {
        case Format::bf16:
            return round_up(k, 2);
        case Format::int8:
        case Format::fp8:
            return round_up(k, 4);
        case Format::int4:
            return round_up(k, kGroup);
        default:
            return k;
    }
}

GENFAST_ANYWHERE size_t panel_bytes(Format format, int64_t k) {
    size_t padded = size_t(padded_k(format, k));
    switch (format) {
        case Format::f32:
            return padded * 128;
        case Format::f16:
        case Format::bf16:
            return padded * 64;
        case Format::int8:
            return padded * 32 + kPanelRows * 8;
        case Format::fp8:
            return padded * 32 + kPanelRows * 4;
        case Format::int4:
            return padded / kGroup * (kPanelRows * 2 + kPanelRows * kGroup / 2);
    }
    return 0;
}

// A packed matrix, or (panels == false) a plain row-major one as it lies in the file, which only
// `embed` reads.
struct Matrix {
    Format format = Format::f32;
    bool panels = true;
    bool gated = false;
    int64_t N = 0, K = 0;
    const std::byte* data = nullptr;
};

// Columns of the result of a matmul: all, and those of one panel.
GENFAST_ANYWHERE int64_t outputs(const Matrix& w) {
    return w.gated ? w.N / 2 : w.N;
}
GENFAST_ANYWHERE int64_t panel_outputs(const Matrix& w) {
    return w.gated ? kPanelRows / 2 : kPanelRows;
}
GENFAST_ANYWHERE int64_t panel_count(const Matrix& w) {
    return (outputs(w) + panel_outputs(w) - 1) / panel_outputs(w);
}

// Where row n lies.
struct RowPlace {
    int64_t panel;
    int row;
};
GENFAST_ANYWHERE RowPlace place_of(const Matrix& w, int64_t n) {
    if (!w.gated) return {n / kPanelRows, int(n % kPanelRows)};
    const int64_t F = w.N / 2, f = n % F, half = kPanelRows / 2;
    return {f / half, int(f % half + (n < F ? 0 : half))};
}
// The row at a place; -1 for padding.
GENFAST_ANYWHERE int64_t row_at(const Matrix& w, RowPlace place) {
    if (!w.gated) {
        const int64_t n = place.panel * kPanelRows + place.row;
        return n < w.N ? n : -1;
    }
    const int64_t F = w.N / 2, half = kPanelRows / 2, f = place.panel * half + place.row % half;
    return f < F ? f + (place.row < half ? 0 : F) : -1;
}

}  // namespace genfast
