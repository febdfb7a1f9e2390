// Between rows and lanes: what belongs to one of sixteen rows lies in a lane of its own.
#pragma once

#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

// rows [lanes][n], `stride` floats apart -> columns [n][16], `step` floats apart; lanes that are
// not there become 0.
static inline void to_columns(const float* rows, int64_t stride, int lanes, int64_t n,
                              float* columns, int64_t step = kLanes) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        VecI t[kLanes];
        for (int lane = 0; lane < kLanes; ++lane)
            t[lane] = lane < lanes ? iload(rows + lane * stride + i) : izero();
        itranspose16(t);
        for (int j = 0; j < kLanes; ++j) istore(columns + (i + j) * step, t[j]);
    }
    for (; i < n; ++i)
        for (int lane = 0; lane < kLanes; ++lane)
            columns[i * step + lane] = lane < lanes ? rows[lane * stride + i] : 0;
}

static inline void to_rows(const float* columns, int lanes, int64_t n, float* rows, int64_t stride,
                           int64_t step = kLanes) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        VecI t[kLanes];
        for (int j = 0; j < kLanes; ++j) t[j] = iload(columns + (i + j) * step);
        itranspose16(t);
        for (int lane = 0; lane < lanes; ++lane) istore(rows + lane * stride + i, t[lane]);
    }
    for (; i < n; ++i)
        for (int lane = 0; lane < lanes; ++lane) rows[lane * stride + i] = columns[i * step + lane];
}

}  // namespace genfast::GENFAST_ISA
