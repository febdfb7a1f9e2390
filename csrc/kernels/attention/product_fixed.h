// Products of 16-bit integers with a cache of bytes or nibbles, in exact integers (fixed.h): the
// same on every machine and in every order. As product.h's, but c is always set.
//
// Each row of the left operand has a factor of its own. What remains of rounding is 2^-16 of a
// row's largest factor, far below what such keys and values themselves cost.
#pragma once

#include "kernels/attention/product.h"
#include "simd/fixed.h"

namespace genfast::GENFAST_ISA {

// Rows of a tile: two accumulators a vector.
#if defined(__AVX512F__)
constexpr int kFixedTileRows = 6, kFixedTileVectors = 2;
#elif defined(__aarch64__)
constexpr int kFixedTileRows = 3, kFixedTileVectors = 1;
#else
constexpr int kFixedTileRows = 4, kFixedTileVectors = 1;
#endif

// Dwords from one row of packed factors to the next: two for every four d or tokens, and some, as
// for the scores.
constexpr int64_t kFixedQueryStride = kMaxHeadDim / 2 + 16;
constexpr int64_t kFixedWeightStride = kRunTokens / 2 + 16;

// Factors of a tile's rows: a[r][k] = packed * unit[r], start[r] = -zero sum_k packed, where `zero`
// is what the cache holds for 0.
struct FixedRows {
    int32_t* packed;
    int32_t start[kFixedTileRows];
    float unit[kFixedTileRows];
};

// n floats (a multiple of sixteen) of magnitude at most `largest`.
GENFAST_INLINE void fix_row(const float* x, int64_t n, float largest, int zero, int32_t* packed,
                            int32_t* start, float* unit) {
    // Nothing that small counts; and kFixedMost / largest must not overflow. A NaN stays in `unit`.
    Vec inverse = vset(largest > 1e-30f ? float(kFixedMost) / largest : 0.0f);
    VecI sum = izero();
    for (int64_t i = 0; i < n; i += kLanes) {
        VecI whole = vtoi(vmul(vload(x + i), inverse));
        sum = iadd(sum, whole);
        fixed_pack(whole, packed + i / 2);
    }
    *start = int32_t(uint32_t(isum(sum)) * uint32_t(-zero));
    *unit = largest / float(kFixedMost);
}

// The largest magnitude of n floats (a multiple of sixteen); NaN when one is not finite.
GENFAST_INLINE float largest_of(const float* x, int64_t n) {
    Vec most = vzero(), poison = vzero();
    for (int64_t i = 0; i < n; i += kLanes) {
        most = vmax(most, vabs(vload(x + i)));
        poison = vfma(vload(x + i), vzero(), poison);
    }
    return vmaxall(most) + vsum(poison);
}

// How a dword of the cache holds G neighbours, four at a time; kZero is what stands for 0. kGroup d
// of a key have a scale of their own (0: the whole key has).
struct ByteCells {
    static constexpr int G = 4, kZero = 128, kGroup = 0;
    template <int NV>
    GENFAST_INLINE void load(const std::byte* p, Bytes (&cells)[1][NV]) {
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) cells[0][v] = load_bytes(p + v * 64);
    }
};
struct NibbleCells {
    static constexpr int G = 8, kZero = 8, kGroup = 32;
    template <int NV>
    GENFAST_INLINE void load(const std::byte* p, Bytes (&cells)[2][NV]) {
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) load_nibbles(p + v * 64, cells[0][v], cells[1][v]);
    }
};

struct FixedOperand : Operand {
    int64_t next;  // bytes from here to what this thread reads afterwards, or 0
    const std::byte* const* scales = nullptr;  // int4 keys: of a page, f16 [groups of 32 d][32]
};

// Groups of G k; the rows of a are a_row dwords apart.
template <class Cells, int MR, int NV, int64_t a_row>
GENFAST_INLINE void accumulate(FixedSum (&acc)[MR][NV], const int32_t*& a, const std::byte* p,
                               int64_t pitch, int64_t groups, int64_t next) {
    for (; groups > 0; --groups, p += pitch, a += Cells::G / 2) {
        Bytes column[Cells::G / 4][NV];
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) {
            __builtin_prefetch(p + 32 * pitch + v * 64);
            if (MR < kFixedTileRows) __builtin_prefetch(p + next + v * 64, 0, 2);
        }
        Cells::load(p, column);
#pragma GCC unroll 2
        for (int four = 0; four < Cells::G / 4; ++four)
#pragma GCC unroll 8
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
                for (int v = 0; v < NV; ++v)
                    fixed_add(acc[r][v], column[four][v], a + r * a_row + 2 * four);
    }
}

template <int MR, int NV>
GENFAST_INLINE void start(FixedSum (&acc)[MR][NV], const FixedRows& a) {
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) acc[r][v] = fixed_start(a.start[r]);
}

template <int MR, int NV>
GENFAST_INLINE void store(const FixedSum (&acc)[MR][NV], const FixedRows& a, float* c,
                          int64_t c_stride) {
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v)
            vstore(c + r * c_stride + v * kLanes,
                   vmul(vfromi(fixed_total(acc[r][v])), vset(a.unit[r])));
}

// sum += acc * scales, where scales has one for every column.
template <int MR, int NV>
GENFAST_INLINE void add_scaled(Vec (&sum)[MR][NV], const FixedSum (&acc)[MR][NV],
                               const uint16_t* scales) {
    Vec scale[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) scale[v] = vload_f16(scales + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v)
            sum[r][v] = vfma(vfromi(fixed_total(acc[r][v])), scale[v], sum[r][v]);
}

// Scores take an element of `a` for every group of d that has a scale, all with the same units;
// values one.
template <class Cells, int MR, int NV, bool kScores>
GENFAST_NOINLINE void product_fixed(const FixedRows* a, const FixedOperand& b, float* c,
                                    int64_t c_stride) {
    FixedSum acc[MR][NV];
    if constexpr (kScores && Cells::kGroup > 0) {
        constexpr int64_t most = Cells::kGroup / Cells::G;
        for (int64_t page = b.begin; page < b.end; ++page) {
            const std::byte* p = b.pages[page] + b.offset;
            const uint16_t* scales = reinterpret_cast<const uint16_t*>(b.scales[page]) +
                                     b.offset / 4;  // four bytes of a key for each of its scales
            Vec sum[MR][NV];
#pragma GCC unroll 8
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
                for (int v = 0; v < NV; ++v) sum[r][v] = vzero();
            for (int64_t left = b.groups, group = 0; left > 0; left -= most, ++group) {
                start(acc, a[group]);
                const int32_t* q = a[group].packed;
                int64_t groups = left < most ? left : most;
                accumulate<Cells, MR, NV, kFixedQueryStride>(acc, q, p, b.pitch, groups, b.next);
                add_scaled(sum, acc, scales + group * kPageTokens);
                p += groups * b.pitch;
            }
            float* to = c + page * kPageTokens;
#pragma GCC unroll 8
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
                for (int v = 0; v < NV; ++v)
                    vstore(to + r * kScoreStride + v * kLanes, vmul(sum[r][v], vset(a->unit[r])));
        }
    } else if constexpr (kScores) {
        for (int64_t page = b.begin; page < b.end; ++page) {
            start(acc, *a);
            const int32_t* q = a->packed;
            accumulate<Cells, MR, NV, kFixedQueryStride>(acc, q, b.pages[page] + b.offset, b.pitch,
                                                         b.groups, b.next);
            store(acc, *a, c + page * kPageTokens, kScoreStride);
        }
    } else {
        constexpr int64_t groups_a_page = kPageTokens / Cells::G;
        start(acc, *a);
        const int32_t* weights = a->packed + b.begin * (Cells::G / 2);
        for (int64_t group = b.begin; group < b.end;) {
            int64_t page = group / groups_a_page, first = group % groups_a_page;
            int64_t count = groups_a_page - first;
            if (count > b.end - group) count = b.end - group;
            accumulate<Cells, MR, NV, kFixedWeightStride>(
                acc, weights, b.pages[page] + b.offset + first * b.pitch, b.pitch, count, b.next);
            group += count;
        }
        store(acc, *a, c, c_stride);
    }
}

template <class Cells, bool kScores, int MR = 1>
static void multiply_fixed(const FixedRows* a, int rows, FixedOperand b, int vectors, float* c,
                           int64_t c_stride) {
    if constexpr (MR <= kFixedTileRows) {
        if (rows > MR)
            return multiply_fixed<Cells, kScores, MR + 1>(a, rows, b, vectors, c, c_stride);
        for (int v = 0; v < vectors;) {
            if (vectors - v >= kFixedTileVectors) {
                product_fixed<Cells, MR, kFixedTileVectors, kScores>(a, b, c + v * kLanes,
                                                                     c_stride);
                v += kFixedTileVectors;
                b.offset += kFixedTileVectors * 64;
            } else {
                product_fixed<Cells, MR, 1, kScores>(a, b, c + v * kLanes, c_stride);
                ++v;
                b.offset += 64;
            }
        }
    }
}

}  // namespace genfast::GENFAST_ISA
