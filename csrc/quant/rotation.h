// The rotation of int8's rows: every 64 columns times a Hadamard matrix of order 64, over 8.
//
// (x R) . (w R) = x . w, and no column of x R or w R is much larger than the others: an outlier is
// spread over its block, so that the one scale of a row suits all of it. R is its own inverse.
//
// What is left of a row goes in blocks of 16, then 4, and up to three columns stay as they are:
// the square roots of these orders are powers of two, so that only sums are rounded. Sums are made
// in the order below on every instruction set (simd/rotation.h).
// No STL: per-ISA sources include this file.
#pragma once

#include <cstdint>

#include "core/anywhere.h"

namespace genfast {

constexpr int kRotation = 64;

// A block of 64, 16, 4 or 1 columns in place.
GENFAST_ANYWHERE void rotate_block(float* x, int order) {
    for (int distance = 1; distance < order; distance *= 2)
        for (int i = 0; i < order; ++i)
            if (!(i & distance)) {
                const float a = x[i], b = x[i + distance];
                x[i] = a + b;
                x[i + distance] = a - b;
            }
    const float normal = order == 64 ? 0.125f : order == 16 ? 0.25f : order == 4 ? 0.5f : 1;
    for (int i = 0; i < order; ++i) x[i] *= normal;
}

// `columns` in place: a row, or any part of it that starts at a multiple of 64 and ends at another
// or with the row.
GENFAST_ANYWHERE void rotate(float* x, int64_t columns) {
    for (int64_t k = 0; k < columns;) {
        const int64_t left = columns - k;
        const int order = left >= 64 ? 64 : left >= 16 ? 16 : left >= 4 ? 4 : 1;
        rotate_block(x + k, order);
        k += order;
    }
}

}  // namespace genfast
