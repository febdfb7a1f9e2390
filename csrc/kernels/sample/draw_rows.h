// draw_rows: what `sample` (sample.h) draws from each row of a step's logits, on a GPU, where they
// lie. Logits [rows, V] f32.
//
// The answer is the CPU's, or none. Where a draw falls so near to the border between two tokens
// that the two's sums, made in different orders, might disagree about it, or where what has to be
// looked at is more than there is room for, a row is left to the CPU. So it is where the likeliest
// tokens, of which somebody wants to know, are too many of the same weight.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/sample/ways.h"

namespace genfast {

enum class Way : int32_t { none, largest, top_k, near, many };

// How a row is drawn; none: it is not.
struct RowDraw {
    Way way = Way::none;
    int32_t top_k = 0;
    int32_t told = -1;  // so many of the likeliest tokens, with their logprobs; -1: nothing is told
    float temperature = 0, top_p = 1, min_p = 0;
    float scale = 0;      // many: exponent_scale
    double distance = 0;  // near: near_distance
    double draw = 0;      // uniform in [0, 1)
};

struct DrawnRow {
    uint64_t digest;  // digest_row (core/digest.h) of the logits
    int32_t token;    // as of `sample`, or kUnsure
};
constexpr int32_t kUnsure = -2;
constexpr int32_t kNotAsked = -3;

// As `logprobs` (logprobs.h), but for rounding.
constexpr int kMostTold = 20;
struct ToldRow {
    float logprob, entropy, margin;
    int32_t count;  // of what follows
    int32_t ids[kMostTold];
    float logprobs[kMostTold];
};

struct DrawRowsArgs {
    const float* logits;
    const RowDraw* draws;  // [rows], in the device's memory
    DrawnRow* drawn;       // out [rows]; not written where the way is none
    ToldRow* told;         // out [rows], of those that ask for it; null: none does
    std::byte* scratch;    // draw_rows_scratch_bytes
    int64_t rows, V;       // V <= kMostDrawn
};
constexpr int64_t kMostDrawn = int64_t(1) << 19;

// Way::none for what a GPU leaves to the CPU. The arguments are those of SampleArgs.
static inline RowDraw row_draw(int64_t V, float temperature, int64_t top_k, float top_p,
                               float min_p, double draw) {
    RowDraw row;
    if (V > kMostDrawn) return row;
    row.temperature = temperature;
    row.top_p = top_p;
    row.min_p = min_p;
    row.draw = draw;
    if (temperature == 0) {
        row.way = Way::largest;
    } else if (top_k > 0) {
        if (top_k > kFew) return row;
        row.way = Way::top_k;
        row.top_k = int32_t(top_k);
    } else if (min_p > 0 && top_p == 1) {
        row.way = Way::near;
        row.distance = near_distance(temperature, min_p);
    } else {
        row.way = Way::many;
        row.scale = exponent_scale(temperature);
    }
    return row;
}

}  // namespace genfast
