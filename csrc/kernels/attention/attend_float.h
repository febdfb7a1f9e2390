// A tile of rows over one block of float32, bfloat16 or fp8 keys and values.
#pragma once

#include "kernels/attention/block.h"
#include "kernels/attention/rows.h"
#include "simd/tanh.h"

namespace genfast::GENFAST_ISA {

// The pages of keys that the tile's rows see; `groups` dwords of each.
static Operand keys_of_tile(const Block& block, const Tile& tile, int64_t groups) {
    return {block.keys,
            0,
            kPageTokens * 4,
            tile.first / kPageTokens,
            (tile.last + kPageTokens - 1) / kPageTokens,
            groups};
}

template <class Source>
static void scores_of_tile(const KvLayout& layout, const Block& block, const Tile& tile,
                           const float* queries, float* scores) {
    Operand keys = keys_of_tile(block, tile, (layout.head_dim + Source::G - 1) / Source::G);
    multiply<Source, true>(queries, tile.rows, keys, kPageTokens / kLanes, scores, kScoreStride);
}

// Caps the scores that each row sees and takes off what its slope asks. They are scores in earnest
// afterwards: times the scale, and with scales of tokens times the keys' scales, which become ones.
static void adjust_scores(const AttentionArgs& a, const Tile& tile, float* key_scales,
                          float* scores) {
    const Vec scale = vset(a.scale), cap = vset(a.cap), inverse = vset(a.cap ? 1 / a.cap : 0);
    const int first = tile.first / kLanes * kLanes, last = int(round_up(tile.last, kLanes));
    for (int r = 0; r < tile.rows; ++r) {
        float* s = scores + r * kScoreStride;
        for (int t = first; t < last; t += kLanes) {
            Vec x = vload(s + t);
            if (key_scales) x = vmul(x, vload(key_scales + t));
            x = vmul(x, scale);
            if (a.cap) x = vmul(cap, vtanh(vmul(x, inverse)));
            if (a.slopes) {
                const Vec away = vsub(vset(float(tile.distance[r])), vfromi(iota(t)));
                x = vsub(x, vmul(vset(tile.slope[r]), away));
            }
            vstore(s + t, x);
        }
    }
    for (int t = first; key_scales && t < last; t += kLanes) vstore(key_scales + t, vset(1.0f));
}

template <class Source>
static void softmax_of_tile(const AttentionArgs& a, const Tile& tile, float* scales, float* scores,
                            const Records& records, float* peaks) {
    float factor = a.scale * 1.44269504f;  // weights are powers of two
    if (a.cap || a.slopes) {
        adjust_scores(a, tile, scales, scores);
        factor = 1.44269504f;
    }
    for (int r = 0; r < tile.rows;) {
        ScoreRows rows{scores + r * kScoreStride, tile.begin[r], tile.end[r], scales,
                       scales ? scales + kRunTokens : nullptr};
        float *m = records.m + r, *l = records.l + r, *peak = peaks + r;
        int alike = 1;  // rows that see the same go together
        while (alike < 4 && r + alike < tile.rows && tile.begin[r + alike] == rows.begin &&
               tile.end[r + alike] == rows.end)
            ++alike;
        if (rows.begin >= rows.end) {
            *m = kMinusInfinity;
            *l = *peak = 0;
            alike = 1;
        } else if (alike == 4) {
            softmax_rows<4, Source>(rows, factor, m, l, peak);
        } else if (alike >= 2) {
            softmax_rows<2, Source>(rows, factor, m, l, peak);
            alike = 2;
        } else {
            softmax_rows<1, Source>(rows, factor, m, l, peak);
        }
        r += alike;
    }
}

// One row's tokens [begin, end) of a panel: the few that its tile does not have in common.
template <class Source>
static void edge(const float* weights, const std::byte* const* pages, int64_t width, int begin,
                 int end, float* out) {
    constexpr int G = Source::G;
    for (int64_t d = 0; d < width; d += kLanes) {
        Vec acc = vload(out + d);
        for (int group = begin / G; group * G < end; ++group) {
            const std::byte* page = pages[group / (kPageTokens / G)];
            const std::byte* p = page + (group % (kPageTokens / G) * width + d) * 4;
            int from = begin - group * G, to = end - group * G;
            Source::add_some(acc, weights, group, p, from > 0 ? from : 0, to < G ? to : G);
        }
        vstore(out + d, acc);
    }
}

// Weighted values. A masked token must not be read even with weight zero: it may hold anything, and
// infinity times zero is not zero. So the tile does what its rows have in common, in whole groups,
// and each row its own tokens before and after that; a row's chain stays in ascending order.
template <class Source>
static void values_of_tile(const KvLayout& layout, const Block& block, const Tile& tile,
                           const float* weights, float* out, int64_t out_stride) {
    constexpr int G = Source::G;
    int begin = (tile.common_begin + G - 1) / G * G, end = tile.common_end / G * G;
    bool any = begin < end;
    for (int64_t panel = 0; panel < layout.panels(); ++panel) {
        int64_t width = layout.panel_width(panel);
        const std::byte* const* pages = block.values[panel];
        float* o = out + panel * layout.panel();
        for (int r = 0; r < tile.rows; ++r) {
            for (int64_t d = 0; d < width; d += kLanes) vstore(o + r * out_stride + d, vzero());
            int stop = any ? begin : tile.end[r];
            if (tile.begin[r] < stop)
                edge<Source>(weights + r * kScoreStride, pages, width, tile.begin[r], stop,
                             o + r * out_stride);
        }
        if (!any) continue;
        multiply<Source, false>(weights, tile.rows, {pages, 0, width * 4, begin / G, end / G, 0},
                                int(width / kLanes), o, out_stride);
        for (int r = 0; r < tile.rows; ++r)
            if (end < tile.end[r])
                edge<Source>(weights + r * kScoreStride, pages, width, end, tile.end[r],
                             o + r * out_stride);
    }
}

template <class Source>
static void attend_tile(const AttentionArgs& a, const Block& block, const Tile& tile,
                        const float* queries, float* scales, float* scores,
                        const Records& records) {
    float unused[kLanes];
    scores_of_tile<Source>(a.layout, block, tile, queries, scores);
    if (kScaled<Source>) gather_scales(block, tile.first, tile.last, scales);
    softmax_of_tile<Source>(a, tile, kScaled<Source> ? scales : nullptr, scores, records, unused);
    values_of_tile<Source>(a.layout, block, tile, scores, records.o, a.layout.stored_dim());
}

}  // namespace genfast::GENFAST_ISA
