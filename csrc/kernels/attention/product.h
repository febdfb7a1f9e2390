// The product both halves of attention are made of:  c[r][n] (+)= sum_k a[r][k] b[k][n].
//
//   scores: a = queries, b = a page of keys,      k = d,      n = tokens
//   values: a = weights, b = a panel of values,   k = tokens, n = d
//
// Every c[r][n] is one chain of fma in ascending k, so its bits do not depend on the tile it was
// computed in. Sixteen n lie in a vector of 64 bytes that holds G consecutive k (kv_layout.h).
#pragma once

#include "kernels/attention/attention.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

#define GENFAST_NOINLINE static __attribute__((noinline))
#define GENFAST_MEMBER __attribute__((always_inline))

// Floats in a row of scores: a block and some, because a stride of a power of two would crowd the
// rows of a tile into a few sets of the L1 cache.
constexpr int64_t kScoreStride = kRunTokens + 16;
constexpr int64_t kQueryStride = kMaxHeadDim + 16;

// How a cache type gives floats: the j-th of the G neighbours of sixteen outputs. (int8 is
// multiplied as it lies: product_int8.h.)
struct Float32 {
    static constexpr int G = 1;
    GENFAST_INLINE Vec load(const std::byte* p, int) {
        return vload(reinterpret_cast<const float*>(p));
    }
};
struct BFloat16 {
    static constexpr int G = 2;
    GENFAST_INLINE Vec load(const std::byte* p, int j) {
        Vec first, second;
        vload_bf16_pairs(reinterpret_cast<const uint16_t*>(p), first, second);
        return j == 0 ? first : second;
    }
};
// Where b lies: pages of 32 tokens. Scores have a page for every 32 n, values for every 32 k.
struct Operand {
    const std::byte* const* pages;
    int64_t offset;      // of the first column, in bytes
    int64_t pitch;       // bytes from one group of G k to the next
    int64_t begin, end;  // scores: pages wanted; values: groups of G k
    int64_t groups;      // scores: groups of G k
};

// Register tiles. AVX-512 has 32 registers: 12 rows of 2 vectors, or few rows of 4 (a decode step
// reads a whole panel in one pass). AVX2 has 16, and a Vec takes two.
#if defined(__AVX512F__)
constexpr int kTileRows = 12;
constexpr int kDirectRows =
    8;  // of a type that is converted on the way: fewer, there is less to gain
constexpr int tile_vectors(int rows) {
    return rows <= 4 ? 4 : 2;
}
#else
constexpr int kTileRows = 6;
constexpr int kDirectRows = 6;
constexpr int tile_vectors(int rows) {
    return rows == 1 ? 4 : rows <= 3 ? 2 : 1;
}
#endif

// Adds `groups` groups of k. The rows of a are a_row floats apart, a constant, so that all of them
// are addressed from one register.
template <class Source, int MR, int NV, int64_t a_row>
GENFAST_INLINE void accumulate(Vec (&acc)[MR][NV], const float*& a, const std::byte* p,
                               int64_t pitch, int64_t groups) {
    constexpr int G = Source::G;
    // Full tiles read a block that lies in L2; a few rows, a stream from memory: about 4 KB of it
    // should be under way.
    constexpr int64_t ahead = MR == kTileRows ? 8 : 32;
    for (; groups > 0; --groups, p += pitch, a += G) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) __builtin_prefetch(p + ahead * pitch + v * 64);
#pragma GCC unroll 4
        for (int j = 0; j < G; ++j) {
            Vec column[NV];
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) column[v] = Source::load(p + v * 64, j);
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r) {
                Vec x = vset(a[r * a_row + j]);
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) acc[r][v] = vfma(x, column[v], acc[r][v]);
            }
        }
    }
}

// kScores: a has stride kQueryStride; c (stride kScoreStride) is set.
// Else:    a has stride kScoreStride; c continues from what it holds.
// Never inlined: inside a larger function the compiler spills the accumulators.
template <class Source, int MR, int NV, bool kScores>
GENFAST_NOINLINE void product(const float* a, const Operand& b, float* c, int64_t c_stride) {
    Vec acc[MR][NV];
    if constexpr (kScores) {
        for (int64_t page = b.begin; page < b.end; ++page) {
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) acc[r][v] = vzero();
            const float* q = a;
            accumulate<Source, MR, NV, kQueryStride>(acc, q, b.pages[page] + b.offset, b.pitch,
                                                     b.groups);
            float* to = c + page * kPageTokens;
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) vstore(to + r * kScoreStride + v * kLanes, acc[r][v]);
        }
    } else {
        constexpr int64_t groups_a_page = kPageTokens / Source::G;
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[r][v] = vload(c + r * c_stride + v * kLanes);
        const float* weights = a + b.begin * Source::G;
        for (int64_t group = b.begin; group < b.end;) {
            int64_t page = group / groups_a_page, first = group % groups_a_page;
            int64_t count = groups_a_page - first;
            if (count > b.end - group) count = b.end - group;
            accumulate<Source, MR, NV, kScoreStride>(
                acc, weights, b.pages[page] + b.offset + first * b.pitch, b.pitch, count);
            group += count;
        }
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) vstore(c + r * c_stride + v * kLanes, acc[r][v]);
    }
}

using Product = void (*)(const float*, const Operand&, float*, int64_t);

// The kernel for `rows` rows and `vectors` (1, 2 or 4, at most tile_vectors(rows)) vectors.
template <class Source, bool kScores, int MR>
static Product product_for(int rows, int vectors) {
    if constexpr (MR > (Source::G == 1 ? kTileRows : kDirectRows)) {
        return nullptr;
    } else {
        if (rows > MR) return product_for<Source, kScores, MR + 1>(rows, vectors);
        if constexpr (tile_vectors(MR) >= 4 && !kScores)
            if (vectors >= 4) return product<Source, MR, 4, kScores>;
        if constexpr (tile_vectors(MR) >= 2)
            if (vectors >= 2) return product<Source, MR, 2, kScores>;
        return product<Source, MR, 1, kScores>;
    }
}

// All columns [0, 16 * vectors) of one panel or page.
template <class Source, bool kScores>
static void multiply(const float* a, int rows, Operand b, int vectors, float* c, int64_t c_stride) {
    for (int v = 0; v < vectors;) {
        int left = vectors - v, most = tile_vectors(rows);
        if (kScores && most > 2) most = 2;
        int now = left < most ? left : most;
        if (now == 3) now = 2;
        product_for<Source, kScores, 1>(rows, now)(a, b, c + v * kLanes, c_stride);
        b.offset += now * 64;
        v += now;
    }
}

}  // namespace genfast::GENFAST_ISA
