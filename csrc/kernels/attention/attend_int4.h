// A tile of rows over one block of int4 keys and values: as int8 (attend_int8.h), but every 32 d
// have scales of their own. Scores are summed group by group of d; weights become integers once for
// each panel of values, times that panel's scales.
#pragma once

#include "kernels/attention/attend_float.h"
#include "kernels/attention/product_fixed.h"

namespace genfast::GENFAST_ISA {

// Weights stay floats, as the softmax leaves them.
struct Nibbles : Float32 {
    static constexpr int kRows = kFixedTileRows, kExpDegree = 4;
};

// As round_int4.h's rotate_group, with the same roundings on every instruction set.
GENFAST_INLINE void rotate_query(float* x) {
    for (int step = 0; step < 5; ++step) {
        Vec even, odd;
        vload_pairs(x, even, odd);
        vstore(x, vadd(even, odd));
        vstore(x + kLanes, vsub(even, odd));
    }
}

// Rotates the queries like the keys, and gives each group of d its factors. groups[g].packed is
// set.
static void fix_queries_int4(float* queries, int rows, int64_t Ds, FixedRows* groups) {
    constexpr int64_t group = NibbleCells::kGroup;
    const Vec inverse = vset(1.0f / float(group));  // H H = 32
    for (int r = 0; r < rows; ++r, queries += kQueryStride) {
        for (int64_t d = 0; d + group <= Ds; d += group) {
            rotate_query(queries + d);
            vstore(queries + d, vmul(vload(queries + d), inverse));
            vstore(queries + d + kLanes, vmul(vload(queries + d + kLanes), inverse));
        }
        float largest = largest_of(queries, Ds);
        for (int64_t d = 0; d < Ds; d += group) {
            FixedRows& fixed = groups[d / group];
            fix_row(queries + d, Ds - d < group ? Ds - d : group, largest, NibbleCells::kZero,
                    fixed.packed + r * kFixedQueryStride, &fixed.start[r], &fixed.unit[r]);
        }
    }
}

// f16, of a page's 32 tokens.
GENFAST_INLINE const uint16_t* value_scales(const Block& block, int64_t page, int64_t panel) {
    return reinterpret_cast<const uint16_t*>(block.scales[1][page]) + panel * kPageTokens;
}

// Calls fn(t, ragged) for sixteen tokens at a time; ragged: the row does not see all of them.
template <class Fn>
GENFAST_INLINE void each_sixteen(int first, int last, int begin, int end, Fn fn) {
    int t = first, whole = int(round_up(begin, kLanes)), stop = end / kLanes * kLanes;
    if (begin >= end) whole = stop = last;
    for (; t < last && t < whole; t += kLanes) fn(t, true);
    for (; t < stop; t += kLanes) fn(t, false);
    for (; t < last; t += kLanes) fn(t, true);
}

// x, for the sixteen tokens from t on, where the row sees them, else 0.
GENFAST_INLINE Vec where_seen(Vec x, int begin, int end, int t) {
    if (begin >= end || end <= t || t + kLanes <= begin) return vzero();
    return ScoreRows{nullptr, begin, end, nullptr, nullptr}.masked(x, t, vzero());
}

// Divides the rows' weights by the unit that their integers will have: the same for all panels,
// after the largest weight times scale of any. `tops`: each token's largest scale.
static void scale_weights(const Tile& tile, int first, int last, const float* tops, float* weights,
                          FixedRows* fixed) {
    for (int r = 0; r < tile.rows; ++r, weights += kScoreStride) {
        int begin = tile.begin[r], end = tile.end[r];
        Vec most = vzero();
        each_sixteen(first, last, begin, end, [&](int t, bool ragged) GENFAST_MEMBER {
            Vec x = vmul(vload(weights + t), vload(tops + t));
            most = vmax(most, ragged ? where_seen(x, begin, end, t) : x);
        });
        float largest = vmaxall(most);
        Vec inverse = vset(largest > 1e-30f ? float(kFixedMost) / largest : 0.0f);
        for (int t = first; t < last; t += kLanes)
            vstore(weights + t, vmul(vload(weights + t), inverse));
        fixed->unit[r] = largest / float(kFixedMost);
    }
}

// Weights in these units times a panel's scales, as integers.
static void fix_weights_int4(const Tile& tile, int first, int last, const float* weights,
                             const float* scales, FixedRows* fixed) {
    for (int r = 0; r < tile.rows; ++r, weights += kScoreStride) {
        int begin = tile.begin[r], end = tile.end[r];
        int32_t* packed = fixed->packed + r * kFixedWeightStride;
        VecI sum = izero();
        each_sixteen(first, last, begin, end, [&](int t, bool ragged) GENFAST_MEMBER {
            Vec x = vmul(vload(weights + t), vload(scales + t));
            VecI whole = vtoi(ragged ? where_seen(x, begin, end, t) : x);
            sum = iadd(sum, whole);
            fixed_pack(whole, packed + t / 2);
        });
        fixed->start[r] = int32_t(uint32_t(isum(sum)) * uint32_t(-NibbleCells::kZero));
    }
}

// packed: as for int8; scales: [512].
static void attend_tile_int4(const AttentionArgs& a, const Block& block, const Tile& tile,
                             float* queries, int32_t* packed, float* scales, float* scores,
                             const Records& records) {
    const KvLayout& layout = a.layout;
    int64_t Ds = layout.stored_dim();
    FixedRows groups[kMaxHeadDim / NibbleCells::kGroup];
    for (int64_t g = 0; g < layout.panels(); ++g)
        groups[g].packed = packed + g * (NibbleCells::kGroup / 2);
    fix_queries_int4(queries, tile.rows, Ds, groups);
    multiply_fixed<NibbleCells, true>(
        groups, tile.rows,
        {keys_of_tile(block, tile, Ds / NibbleCells::G), block.next, block.scales[0]},
        kPageTokens / kLanes, scores, kScoreStride);

    float unused[kLanes];
    softmax_of_tile<Nibbles>(a, tile, nullptr, scores, records, unused);

    int first = tile.first / kLanes * kLanes, last = int(round_up(tile.last, kLanes));
    FixedRows weights{packed + kFixedTileRows * kFixedQueryStride, {}, {}};
    int64_t pages_begin = tile.first / kPageTokens;
    int64_t pages_end = (tile.last + kPageTokens - 1) / kPageTokens;
    for (int64_t page = pages_begin; page < pages_end; ++page)
        for (int half = 0; half < kPageTokens; half += kLanes) {
            Vec top = vzero();
            for (int64_t panel = 0; panel < layout.panels(); ++panel)
                top = vmax(top, vabs(vload_f16(value_scales(block, page, panel) + half)));
            vstore(scales + page * kPageTokens + half, top);
        }
    scale_weights(tile, first, last, scales, scores, &weights);
    for (int64_t panel = 0; panel < layout.panels(); ++panel) {
        int64_t width = layout.panel_width(panel);
        for (int64_t page = pages_begin; page < pages_end; ++page)
            for (int half = 0; half < kPageTokens; half += kLanes)
                vstore(scales + page * kPageTokens + half,
                       vload_f16(value_scales(block, page, panel) + half));
        fix_weights_int4(tile, first, last, scores, scales, &weights);
        multiply_fixed<NibbleCells, false>(
            &weights, tile.rows,
            {{block.values[panel], 0, width * 4, first / 8, last / 8, 0}, block.next},
            int(width / kLanes), records.o + panel * layout.panel(), Ds);
    }
}

}  // namespace genfast::GENFAST_ISA
