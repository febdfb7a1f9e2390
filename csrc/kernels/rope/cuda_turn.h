// A column of rope, by a thread: of a pair, the first's turns both.
#pragma once

#include "cuda/launch.h"
#include "kernels/rope/rope.h"

namespace genfast::cuda {

__device__ inline void turn_column(const RopeArgs& a, int64_t t, int64_t column) {
    const float* x = a.x + t * a.width;
    float* out = a.out + t * a.width;
    const int64_t d = column % a.D, half = a.R / 2;
    if (column >= a.heads * a.D || d >= a.R) {
        if (a.x != a.out) out[column] = x[column];
        return;
    }
    if (a.interleaved ? d % 2 : d >= half) return;
    const int64_t pair = a.interleaved ? d / 2 : d, other = column + (a.interleaved ? 1 : half);
    const float c = a.table[t * a.R + pair], s = a.table[t * a.R + half + pair];
    const float u = x[column], v = x[other];
    out[column] = u * c - v * s;
    out[other] = v * c + u * s;
}

}  // namespace genfast::cuda
