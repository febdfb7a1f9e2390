// A tile of rows over one block of int8 keys and values, in exact integers.
//
// Queries, and weights times value scales, become 16-bit integers, each row with a factor of its
// own; products with the cache's bytes are then exact sums (fixed.h), the same on every machine and
// in every order. What remains of rounding is 2^-16 of a row's largest factor, far below what int8
// keys and values themselves cost.
#pragma once

#include "kernels/attention/attend_float.h"
#include "simd/fixed.h"

namespace genfast::GENFAST_ISA {

// Rows of a tile: two accumulators a vector.
#if defined(__AVX512F__)
constexpr int kInt8Rows = 6, kInt8Vectors = 2;
#elif defined(__aarch64__)
constexpr int kInt8Rows = 3, kInt8Vectors = 1;
#else
constexpr int kInt8Rows = 4, kInt8Vectors = 1;
#endif

// Dwords from one row of packed factors to the next: two for every four d or tokens, and some, as
// for the scores.
constexpr int64_t kFixedQueryStride = kMaxHeadDim / 2 + 16;
constexpr int64_t kFixedWeightStride = kRunTokens / 2 + 16;

// Factors of a tile's rows: a[r][k] = packed * unit[r], start[r] = -128 sum_k packed.
struct FixedRows {
    int32_t* packed;
    int32_t start[kInt8Rows];
    float unit[kInt8Rows];
};

// n floats (a multiple of sixteen) of magnitude at most `largest`.
GENFAST_INLINE void fix_row(const float* x, int64_t n, float largest, int32_t* packed,
                            int32_t* start, float* unit) {
    // Nothing that small counts; and kFixedMost / largest must not overflow. A NaN stays in `unit`.
    Vec inverse = vset(largest > 1e-30f ? float(kFixedMost) / largest : 0.0f);
    VecI sum = izero();
    for (int64_t i = 0; i < n; i += kLanes) {
        VecI whole = vtoi(vmul(vload(x + i), inverse));
        sum = iadd(sum, whole);
        fixed_pack(whole, packed + i / 2);
    }
    *start = int32_t(uint32_t(isum(sum)) * uint32_t(-128));
    *unit = largest / float(kFixedMost);
}

// Groups of four k; the rows of a are a_row dwords apart.
template <int MR, int NV, int64_t a_row>
GENFAST_INLINE void accumulate(FixedSum (&acc)[MR][NV], const int32_t*& a, const std::byte* p,
                               int64_t pitch, int64_t groups, int64_t next) {
    for (; groups > 0; --groups, p += pitch, a += 2) {
        Bytes column[NV];
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) {
            __builtin_prefetch(p + 32 * pitch + v * 64);
            if (MR < kInt8Rows) __builtin_prefetch(p + next + v * 64, 0, 2);
            column[v] = load_bytes(p + v * 64);
        }
#pragma GCC unroll 8
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
            for (int v = 0; v < NV; ++v) fixed_add(acc[r][v], column[v], a + r * a_row);
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

// As product.h's, but c is always set.
template <int MR, int NV, bool kScores>
GENFAST_NOINLINE void product_int8(const FixedRows& a, const Operand& b, float* c,
                                   int64_t c_stride) {
    FixedSum acc[MR][NV];
    if constexpr (kScores) {
        for (int64_t page = b.begin; page < b.end; ++page) {
            start(acc, a);
            const int32_t* q = a.packed;
            accumulate<MR, NV, kFixedQueryStride>(acc, q, b.pages[page] + b.offset, b.pitch,
                                                  b.groups, b.next);
            store(acc, a, c + page * kPageTokens, kScoreStride);
        }
    } else {
        constexpr int64_t groups_a_page = kPageTokens / 4;
        start(acc, a);
        const int32_t* weights = a.packed + b.begin * 2;
        for (int64_t group = b.begin; group < b.end;) {
            int64_t page = group / groups_a_page, first = group % groups_a_page;
            int64_t count = groups_a_page - first;
            if (count > b.end - group) count = b.end - group;
            accumulate<MR, NV, kFixedWeightStride>(
                acc, weights, b.pages[page] + b.offset + first * b.pitch, b.pitch, count, b.next);
            group += count;
        }
        store(acc, a, c, c_stride);
    }
}

template <bool kScores, int MR>
static void multiply_int8(const FixedRows& a, int rows, Operand b, int vectors, float* c,
                          int64_t c_stride) {
    if constexpr (MR <= kInt8Rows) {
        if (rows > MR) return multiply_int8<kScores, MR + 1>(a, rows, b, vectors, c, c_stride);
        for (int v = 0; v < vectors;) {
            if (vectors - v >= kInt8Vectors) {
                product_int8<MR, kInt8Vectors, kScores>(a, b, c + v * kLanes, c_stride);
                v += kInt8Vectors;
                b.offset += kInt8Vectors * 64;
            } else {
                product_int8<MR, 1, kScores>(a, b, c + v * kLanes, c_stride);
                ++v;
                b.offset += 64;
            }
        }
    }
}

// Weights times value scales as integers. A row's tokens that it does not see are zeros, which take
// no part whatever the cache holds there: its bytes are always numbers.
static void fix_weights(const Tile& tile, int first, int last, float* scores, const float* peaks,
                        FixedRows* weights) {
    for (int r = 0; r < tile.rows; ++r) {
        float* s = scores + r * kScoreStride;
        int seen = tile.begin[r] / kLanes * kLanes, end = int(round_up(tile.end[r], kLanes));
        if (tile.begin[r] >= tile.end[r]) seen = end = first;
        for (int t = first; t < seen; t += kLanes) vstore(s + t, vzero());
        for (int t = end; t < last; t += kLanes) vstore(s + t, vzero());
        fix_row(s + first, last - first, peaks[r],
                weights->packed + r * kFixedWeightStride + first / 2, &weights->start[r],
                &weights->unit[r]);
    }
}

static void fix_queries(const float* queries, int rows, int64_t Ds, FixedRows* fixed) {
    for (int r = 0; r < rows; ++r) {
        const float* q = queries + r * kQueryStride;
        Vec most = vzero(), poison = vzero();
        for (int64_t d = 0; d < Ds; d += kLanes) {
            Vec x = vload(q + d);
            most = vmax(most, vabs(x));
            poison = vfma(x, vzero(), poison);
        }
        fix_row(q, Ds, vmaxall(most) + vsum(poison), fixed->packed + r * kFixedQueryStride,
                &fixed->start[r], &fixed->unit[r]);
    }
}

// packed: kInt8Rows * (kFixedQueryStride + kFixedWeightStride) dwords; scales: [2][512].
static void attend_tile_int8(const AttentionArgs& a, const Block& block, const Tile& tile,
                             const float* queries, int32_t* packed, float* scales, float* scores,
                             const Records& records) {
    const KvLayout& layout = a.layout;
    int64_t Ds = layout.stored_dim();
    FixedRows fixed{packed, {}, {}};
    fix_queries(queries, tile.rows, Ds, &fixed);
    Operand keys{block.keys,
                 0,
                 kPageTokens * 4,
                 tile.first / kPageTokens,
                 (tile.last + kPageTokens - 1) / kPageTokens,
                 (layout.head_dim + 3) / 4,
                 block.next};
    multiply_int8<true, 1>(fixed, tile.rows, keys, kPageTokens / kLanes, scores, kScoreStride);

    float peaks[kLanes];
    gather_scales(block, tile.first, tile.last, scales);
    softmax_of_tile<Fixed>(tile, a.scale, scales, scores, records, peaks);

    int first = tile.first / kLanes * kLanes, last = int(round_up(tile.last, kLanes));
    fixed.packed = packed + kInt8Rows * kFixedQueryStride;
    fix_weights(tile, first, last, scores, peaks, &fixed);
    for (int64_t panel = 0; panel < layout.panels(); ++panel) {
        int64_t width = layout.panel_width(panel);
        multiply_int8<false, 1>(
            fixed, tile.rows,
            {block.values[panel], 0, width * 4, first / 4, last / 4, 0, block.next},
            int(width / kLanes), records.o + panel * layout.panel(), Ds);
    }
}

}  // namespace genfast::GENFAST_ISA
