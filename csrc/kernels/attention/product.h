// The product both halves of attention are made of:  c[r][n] (+)= sum_k a[r][k] b[k][n].
//
//   scores: a = queries, b = a page of keys,      k = d,      n = tokens
//   values: a = weights, b = a panel of values,   k = tokens, n = d
//
// Every c[r][n] is one chain of fma in a fixed order of k, so its bits do not depend on the tile it
// was computed in. Sixteen n lie in a vector of 64 bytes that holds G consecutive k (kv_layout.h).
#pragma once

#include "kernels/attention/attention.h"
#include "simd/e4m3.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

#define GENFAST_NOINLINE static __attribute__((noinline))

// Floats in a row of scores: a block and some, because a stride of a power of two would crowd the
// rows of a tile into a few sets of the L1 cache.
constexpr int64_t kScoreStride = kRunTokens + 16;
constexpr int64_t kQueryStride = kMaxHeadDim + 16;

// Register tiles. AVX-512 has 32 registers: 12 rows of 2 vectors, or few rows of 4 (a decode step
// reads a whole panel in one pass). AVX2 has 16, and a Vec takes two; NEON 32, and a Vec takes
// four.
#if defined(__AVX512F__)
constexpr int kTileRows = 12;
constexpr int kDirectRows = 8;  // of a type that is converted on the way, which takes registers
constexpr int tile_vectors(int rows) {
    return rows <= 4 ? 4 : 2;
}
#elif defined(__aarch64__)
constexpr int kTileRows = 6;
constexpr int kDirectRows = 6;
constexpr int tile_vectors(int rows) {
    return rows <= 2 ? 2 : 1;
}
#else
constexpr int kTileRows = 6;
constexpr int kDirectRows = 6;
constexpr int tile_vectors(int rows) {
    return rows == 1 ? 4 : rows <= 3 ? 2 : 1;
}
#endif

// How a type of cache is multiplied (int8's and int4's: product_fixed.h). Of the G neighbours that
// a dword of it holds, the j-th step takes `load(p, j)` times float j of the A that the left
// operand, as `store` wrote it, has for them (`store_weights`: numbers from 2^-80 to 1); `add_some`
// takes neighbours [begin, end) alone, in the same order.
struct Float32 {
    static constexpr int G = 1, A = 1, kRows = kTileRows, kExpDegree = 5;
    // Sixteen factors of a row from k on.
    GENFAST_INLINE void store(float* row, int64_t k, Vec x) { vstore(row + k, x); }
    GENFAST_INLINE void store_weights(float* row, int64_t t, Vec x) { store(row, t, x); }
    GENFAST_INLINE Vec load(const std::byte* p, int) {
        return vload(reinterpret_cast<const float*>(p));
    }
    GENFAST_INLINE void add(Vec& acc, Vec a, Vec b) { acc = vfma(a, b, acc); }
    GENFAST_INLINE void add_some(Vec& acc, const float* row, int64_t group, const std::byte* p, int,
                                 int) {
        add(acc, vset(row[group]), load(p, 0));
    }
};

// Numbers of 8 bits are exact as floats, and nothing else is rounded to fewer. The last of four
// comes first.
struct Float8 : Float32 {
    static constexpr int G = 4, A = 4, kRows = kDirectRows, kExpDegree = 4;
    GENFAST_INLINE Vec load(const std::byte* p, int j) {
        return j == 0   ? vload_e4m3<0>(p)
               : j == 1 ? vload_e4m3<1>(p)
               : j == 2 ? vload_e4m3<2>(p)
                        : vload_e4m3<3>(p);
    }
    GENFAST_INLINE void add_some(Vec& acc, const float* row, int64_t group, const std::byte* p,
                                 int begin, int end) {
        for (int j = end - 1; j >= begin; --j) add(acc, vset(row[group * G + j]), load(p, j));
    }
};

// Both operands are bf16 numbers; of each pair the second comes first, as in vdpbf16ps.
struct BFloat16 {
    static constexpr int G = 2, A = 2, kRows = kDirectRows, kExpDegree = 4;
    GENFAST_INLINE void store(float* row, int64_t k, Vec x) { vstore(row + k, vround_bf16(x)); }
    GENFAST_INLINE void store_weights(float* row, int64_t t, Vec x) { store(row, t, x); }
    GENFAST_INLINE Vec load(const std::byte* p, int j) {
        Vec first, second;
        vload_bf16_pairs(reinterpret_cast<const uint16_t*>(p), first, second);
        return j == 0 ? first : second;
    }
    GENFAST_INLINE void add(Vec& acc, Vec a, Vec b) { acc = vfma(a, b, acc); }
    GENFAST_INLINE void add_some(Vec& acc, const float* row, int64_t group, const std::byte* p,
                                 int begin, int end) {
        for (int j = end - 1; j >= begin; --j) add(acc, vset(row[group * G + j]), load(p, j));
    }
};

#if defined(__AVX512F__)
// The same with the instruction: a row holds pairs, dwords that are moved about as floats.
struct BFloat16Dot {
    static constexpr int G = 2, A = 1, kRows = kTileRows, kExpDegree = 4;
    GENFAST_INLINE void store(float* row, int64_t k, Vec x) {
        vstore_bf16(reinterpret_cast<uint16_t*>(row) + k, vround_bf16(x));
    }
    GENFAST_INLINE void store_weights(float* row, int64_t t, Vec x) {
        vstore_round_bf16(reinterpret_cast<uint16_t*>(row) + t, x);
    }
    GENFAST_INLINE Vec load(const std::byte* p, int) {
        return vload(reinterpret_cast<const float*>(p));
    }
    GENFAST_INLINE void add(Vec& acc, Vec a, Vec b) { vdot_bf16(acc, a, b); }
    GENFAST_INLINE void add_some(Vec& acc, const float* row, int64_t group, const std::byte* p,
                                 int begin, int end) {
        Vec kept = vset(bits_to_f32((begin == 0 ? 0xffffu : 0u) | (end == 2 ? 0xffff0000u : 0u)));
        add(acc, vand(vset(row[group]), kept), vand(load(p, 0), kept));
    }
};
#endif

// Where b lies: pages of 32 tokens. Scores have a page for every 32 n, values for every 32 k.
struct Operand {
    const std::byte* const* pages;
    int64_t offset;      // of the first column, in bytes
    int64_t pitch;       // bytes from one group of G k to the next
    int64_t begin, end;  // scores: pages wanted; values: groups of G k
    int64_t groups;      // scores: groups of G k
};

// Adds `groups` groups of k. The rows of a are a_row floats apart, a constant, so that all of them
// are addressed from one register.
template <class Source, int MR, int NV, int64_t a_row>
GENFAST_INLINE void accumulate(Vec (&acc)[MR][NV], const float*& a, const std::byte* p,
                               int64_t pitch, int64_t groups) {
    for (; groups > 0; --groups, p += pitch, a += Source::A) {
        // Full tiles read a block that lies in L2, other tiles a stream from memory, which the
        // hardware fetches ahead; asking for it as well costs a tenth.
        if (MR == Source::kRows)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) __builtin_prefetch(p + 8 * pitch + v * 64);
#pragma GCC unroll 4
        for (int j = Source::A - 1; j >= 0; --j) {
            Vec column[NV];
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) column[v] = Source::load(p + v * 64, j);
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r) {
                Vec x = vset(a[r * a_row + j]);
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) Source::add(acc[r][v], x, column[v]);
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
        const float* weights = a + b.begin * Source::A;
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
    if constexpr (MR > Source::kRows) {
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
