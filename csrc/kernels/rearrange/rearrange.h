// What moves numbers and computes none, all f32 and NHWC.
//
// upsample: out[n, y, x] = x[n, y / factor, x / factor]   x [N, H, W, C], out [N, fH, fW, C]
// pixel_shuffle: a pixel's factor^2 C channels become those of factor x factor pixels
//   x [N, H, W, factor^2 C], out [N, fH, fW, C]; channels come as (C, factor, factor), as in torch
//   (Shi et al., 2016, arXiv 1609.05158), or with channels_last as (factor, factor, C)
// place: of each item a rectangle of rows and columns of x to a place in out; the rest of out stays
#pragma once

#include <cstdint>
#include <cstring>

#include "core/team.h"

namespace genfast {

struct UpsampleArgs {
    const float* x;
    float* out;
    int64_t N, H, W, C, factor;
};

struct PixelShuffleArgs {
    const float* x;
    float* out;
    int64_t N, H, W, C, factor;
    bool channels_last;
};

struct PlaceArgs {
    const float* x;  // its first number that is taken
    float* out;      // where that goes
    int64_t items, rows, cols;
    int64_t x_item, x_row;      // numbers from an item to the next, from a row to the next
    int64_t out_item, out_row;  // the same of out
};

static inline void copy_floats(float* to, const float* from, int64_t count) {
    std::memcpy(to, from, size_t(count) * sizeof(float));
}

static inline void upsample_rows(const UpsampleArgs& a, Team& team) {
    Range rows = share(a.N * a.H * a.factor, team);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
        const float* x = a.x + row / a.factor * a.W * a.C;
        float* out = a.out + row * a.W * a.factor * a.C;
        for (int64_t i = 0; i < a.W * a.factor; ++i)
            copy_floats(out + i * a.C, x + i / a.factor * a.C, a.C);
    }
}

static inline void shuffle_rows(const PixelShuffleArgs& a, Team& team) {
    const int64_t f = a.factor;
    Range rows = share(a.N * a.H * f, team);
    for (int64_t row = rows.begin; row < rows.end; ++row)
        for (int64_t i = 0; i < a.W * f; ++i) {
            const float* x = a.x + (row / f * a.W + i / f) * f * f * a.C;
            const int64_t tap = row % f * f + i % f;
            float* out = a.out + (row * a.W * f + i) * a.C;
            if (a.channels_last) {
                copy_floats(out, x + tap * a.C, a.C);
                continue;
            }
            for (int64_t c = 0; c < a.C; ++c) out[c] = x[c * f * f + tap];
        }
}

static inline void place_rows(const PlaceArgs& a, Team& team) {
    Range rows = share(a.items * a.rows, team);
    for (int64_t i = rows.begin; i < rows.end; ++i) {
        const int64_t item = i / a.rows, row = i % a.rows;
        copy_floats(a.out + item * a.out_item + row * a.out_row,
                    a.x + item * a.x_item + row * a.x_row, a.cols);
    }
}

}  // namespace genfast
