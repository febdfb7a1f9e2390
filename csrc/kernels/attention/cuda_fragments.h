// Which queries, tokens and numbers of a head a lane has of a tile's products (cuda/tensor_core.h).
#pragma once

#include "cuda/tensor_core.h"
#include "kernels/attention/cuda_block.h"

namespace genfast::cuda {

constexpr int kChunkTokens = kWarps * kPageTokens;  // a warp scores a page
constexpr int kSixteen = 16;                        // numbers of a head: rows of a product

// Where the chunk of a block's first token that is seen begins.
__device__ inline int64_t first_chunk(Tokens seen) {
    return seen.begin / kChunkTokens * kChunkTokens;
}

// The lane's columns are queries column(j, 0) and column(j, 1) of every eight; e % 2 says which.
__device__ inline int column(int j, int e) {
    return j * kMmaColumns + lane_column(e);
}

// Over the lanes that have the same columns.
__device__ inline float column_max(float x) {
    for (int distance = 4; distance < kWarp; distance *= 2)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, distance));
    return x;
}
__device__ inline float column_sum(float x) {
    for (int distance = 4; distance < kWarp; distance *= 2) x += __shfl_xor_sync(~0u, x, distance);
    return x;
}

// Of a page's 32 scores by a query the lane has four: of tokens 4 g ... 4 g + 3.
__device__ inline int first_token() {
    return 4 * lane_row();
}

// Four warps share out a head's numbers in sixteens: the first of sixteen i of this warp.
// Two lie side by side, which have one scale in an int4 cache, where there is work for all warps.
template <int sixteens>
__device__ inline int first_number(int i) {
    const int mine = warp() % kWarps;
    if (sixteens == 1) return mine * kSixteen;
    return ((i / 2 * kWarps + mine) * 2 + i % 2) * kSixteen;
}
// The number of a sixteen that a product's sum[e] is of: neighbours, as a lane takes values by two.
__device__ inline int sixteenth(int e) {
    return 2 * lane_row() + e / 2;
}

}  // namespace genfast::cuda
