// fp8: E4M3 numbers (core/e4m3.h) and one scale a row. scale = max|w| / 448, so that the row's
// largest is the format's; w ~ scale * q. The panel is int8's without its row sums.
//
// Not rotated: a number's step follows its own size, so an outlier costs the others nothing, and
// that a rotation makes all of them alike gains nothing (bench/simulated.py).
// No STL: per-ISA sources include this file.
#pragma once

#include "core/e4m3.h"
#include "quant/int8.h"

namespace genfast::fp8 {

using int8::index_in_panel;
using int8::scales;

GENFAST_ANYWHERE float scale_of(float largest) {
    return largest < int8::kTiny ? 0.0f : largest / e4m3::kLargest;
}
GENFAST_ANYWHERE float inverse_of(float largest) {
    return largest < int8::kTiny ? 0.0f : e4m3::kLargest / largest;
}

// rows [32, K] f32, finite
static inline void pack_panel(const float* rows, int64_t K, std::byte* panel) {
    for (int row = 0; row < kPanelRows; ++row, rows += K) {
        const float largest = int8::largest_of(rows, K), inverse = inverse_of(largest);
        for (int64_t k = 0; k < padded_k(Format::fp8, K); ++k)
            panel[index_in_panel(row, k)] =
                std::byte(k < K ? e4m3::from_f32(rows[k] * inverse) : 0);
        scales(panel, K)[row] = scale_of(largest);
    }
}

// Columns [begin, end) of a row.
GENFAST_ANYWHERE void unpack_row(const std::byte* panel, int row, int64_t K, int64_t begin,
                                 int64_t end, float* out) {
    const float scale = scales(panel, K)[row];
    for (int64_t k = begin; k < end; ++k)
        out[k - begin] = e4m3::to_f32(uint8_t(panel[index_in_panel(row, k)])) * scale;
}

}  // namespace genfast::fp8
