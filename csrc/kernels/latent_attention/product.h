// The products latent attention is made of, sixteen heads in the lanes of a vector:
//   scores: c[m] = sum_k rows[m][k] b[k]          m = tokens, k = d, b = queries
//   values: c[m] = c[m] factor + sum_k rows[k][m] b[k]   m = d, k = tokens, b = weights
// A number of the cache is broadcast, and one loaded vector of b meets it for every token: the more
// heads there are, the less the cache's layout matters. Every c[m] is one chain of fma in ascending
// k: its bits do not depend on the tile it was computed in.
#pragma once

#include "kernels/attention/softmax.h"
#include "simd/columns.h"

namespace genfast::GENFAST_ISA {

// Floats from a token of the page at hand to the next: a constant, so that a tile's rows are
// addressed from one register; not a power of two, which would crowd them into few sets of L1.
constexpr int64_t kRowStride = kMaxLatentDim + 16;

// Sixteen accumulators on AVX-512, eight registers of them on AVX2, sixteen on NEON. Two units
// (sixteen heads each) share what is broadcast where there are registers for it.
#if defined(__AVX512F__)
constexpr int kTileUnits = 2;
constexpr int tile_rows(int units) {
    return units == 2 ? 8 : 16;
}
#else
constexpr int kTileUnits = 1;
constexpr int tile_rows(int) {
    return 4;
}
#endif

// b [units][K][16], b_unit floats apart; c [units][M][16], c_unit apart; factor [units][16].
struct LaneProduct {
    const float* rows;
    const float* b;
    int64_t b_unit, K;
    float* c;
    int64_t c_unit;
    const float* factor;
};

template <bool kScores, int U, int M>
GENFAST_NOINLINE void multiply_tile(const LaneProduct& p, int64_t m) {
    Vec acc[M][U];
#pragma GCC unroll 16
    for (int r = 0; r < M; ++r)
#pragma GCC unroll 2
        for (int u = 0; u < U; ++u)
            acc[r][u] = kScores ? vzero()
                                : vmul(vload(p.c + u * p.c_unit + (m + r) * kLanes),
                                       vload(p.factor + u * kLanes));
    const float* a = p.rows + (kScores ? m * kRowStride : m);
    const float* b = p.b;
    for (int64_t k = 0; k < p.K; ++k, a += kScores ? 1 : kRowStride, b += kLanes) {
        Vec column[U];
#pragma GCC unroll 2
        for (int u = 0; u < U; ++u) column[u] = vload(b + u * p.b_unit);
#pragma GCC unroll 16
        for (int r = 0; r < M; ++r) {
            const Vec x = vset(a[kScores ? r * kRowStride : r]);
#pragma GCC unroll 2
            for (int u = 0; u < U; ++u) acc[r][u] = vfma(x, column[u], acc[r][u]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < M; ++r)
#pragma GCC unroll 2
        for (int u = 0; u < U; ++u) vstore(p.c + u * p.c_unit + (m + r) * kLanes, acc[r][u]);
}

template <bool kScores, int U>
static void multiply_rows(const LaneProduct& p, int64_t M) {
    constexpr int most = tile_rows(U);
    int64_t m = 0;
    for (; m + most <= M; m += most) multiply_tile<kScores, U, most>(p, m);
    if constexpr (most > 4)
        for (; m + 4 <= M; m += 4) multiply_tile<kScores, U, 4>(p, m);
    for (; m < M; ++m) multiply_tile<kScores, U, 1>(p, m);
}

}  // namespace genfast::GENFAST_ISA
