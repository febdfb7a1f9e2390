// A tile of rows over one block of int8 keys and values: queries, and weights times value scales,
// become 16-bit integers (product_fixed.h).
#pragma once

#include "kernels/attention/attend_float.h"
#include "kernels/attention/product_fixed.h"

namespace genfast::GENFAST_ISA {

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
        fix_row(s + first, last - first, peaks[r], ByteCells::kZero,
                weights->packed + r * kFixedWeightStride + first / 2, &weights->start[r],
                &weights->unit[r]);
    }
}

static void fix_queries(const float* queries, int rows, int64_t Ds, FixedRows* fixed) {
    for (int r = 0; r < rows; ++r) {
        const float* q = queries + r * kQueryStride;
        fix_row(q, Ds, largest_of(q, Ds), ByteCells::kZero, fixed->packed + r * kFixedQueryStride,
                &fixed->start[r], &fixed->unit[r]);
    }
}

// packed: kFixedTileRows * (kFixedQueryStride + kFixedWeightStride) dwords; scales: [2][512].
static void attend_tile_int8(const AttentionArgs& a, const Block& block, const Tile& tile,
                             const float* queries, int32_t* packed, float* scales, float* scores,
                             const Records& records) {
    const KvLayout& layout = a.layout;
    int64_t Ds = layout.stored_dim();
    FixedRows fixed{packed, {}, {}};
    fix_queries(queries, tile.rows, Ds, &fixed);
    multiply_fixed<ByteCells, true>(
        &fixed, tile.rows, {keys_of_tile(block, tile, (layout.head_dim + 3) / 4), block.next},
        kPageTokens / kLanes, scores, kScoreStride);

    float peaks[kLanes];
    gather_scales(block, tile.first, tile.last, scales);
    softmax_of_tile<Fixed>(a, tile, scales, scores, records, peaks);

    int first = tile.first / kLanes * kLanes, last = int(round_up(tile.last, kLanes));
    fixed.packed = packed + kFixedTileRows * kFixedQueryStride;
    fix_weights(tile, first, last, scores, peaks, &fixed);
    for (int64_t panel = 0; panel < layout.panels(); ++panel) {
        int64_t width = layout.panel_width(panel);
        multiply_fixed<ByteCells, false>(
            &fixed, tile.rows,
            {{block.values[panel], 0, width * 4, first / 4, last / 4, 0}, block.next},
            int(width / kLanes), records.o + panel * layout.panel(), Ds);
    }
}

}  // namespace genfast::GENFAST_ISA
