// The rows of a job: where their queries and outputs lie, and what they see of a block.
//
// Rows count query heads within tokens: row = token * group + member, for one KV head.
#pragma once

#include "kernels/attention/softmax.h"

namespace genfast::GENFAST_ISA {

// Spans whose rows go together: one, or several of one row each that lie side by side in the step
// and whose sequences begin in the same pages (beams, or questions about one text).
struct Bundle {
    const SequenceSpan* spans;
    int64_t count;

    GENFAST_MEMBER int64_t tokens() const { return count > 1 ? count : spans->rows; }
    GENFAST_MEMBER int64_t position(int64_t token) const {
        return count > 1 ? spans[token].start : spans->start + token;
    }
    GENFAST_MEMBER const SequenceSpan& span_of(int64_t token) const {
        return spans[count > 1 ? token : 0];
    }
};

// Walks over rows without dividing.
struct RowCursor {
    int64_t group, token, member;

    GENFAST_MEMBER RowCursor(const AttentionArgs& a, int64_t row)
        : group(a.heads / a.layout.heads),
          token(uint32_t(row) / uint32_t(group)),
          member(row - token * group) {}
    GENFAST_MEMBER void next() {
        if (++member < group) return;
        member = 0;
        ++token;
    }
    // Of its query, in floats from qkv, and of its output, from out.
    GENFAST_MEMBER int64_t query(const AttentionArgs& a, const Bundle& bundle, int head) const {
        int64_t columns = a.heads + 2 * a.layout.heads, row = bundle.spans->row + token;
        return (row * columns + head * group + member) * a.layout.head_dim;
    }
    GENFAST_MEMBER int64_t output(const AttentionArgs& a, const Bundle& bundle, int head) const {
        return ((bundle.spans->row + token) * a.heads + head * group + member) * a.layout.head_dim;
    }
};

// Sinks are a block of their own: what the other blocks see begins after them.
constexpr int64_t kSinkBlock = -1;
static inline int64_t first_page(int64_t block) {
    return block == kSinkBlock ? 0 : block * kRunPages;
}

// The tokens of a block that a position sees, from the block's start (none: begin >= end).
struct Visible {
    int begin, end;
};
static inline Visible visible(const AttentionArgs& a, int64_t position, int64_t block) {
    if (block == kSinkBlock) return {0, int(position < a.sinks ? position + 1 : a.sinks)};
    int64_t end = position + 1 - block * kRunTokens, begin = 0;
    if (a.window > 0 && end > a.window) begin = end - a.window;
    if (begin + block * kRunTokens < a.sinks) begin = a.sinks - block * kRunTokens;
    if (end > kRunTokens) end = kRunTokens;
    if (end < 0) end = 0;
    return {int(begin < kRunTokens ? begin : kRunTokens), int(end)};
}

// The rows of a tile and what each sees of the block at hand.
struct Tile {
    int rows;
    int begin[kTileRows], end[kTileRows];
    int first, last;               // seen by some row (none: first >= last)
    int common_begin, common_end;  // seen by all rows (none: begin >= end)
    // With slopes: each row's, and how far its position lies behind the block's first token.
    float slope[kTileRows];
    int64_t distance[kTileRows];
};

static Tile make_tile(const AttentionArgs& a, const Bundle& bundle, int head, int64_t row, int rows,
                      int64_t block) {
    Tile tile{rows, {}, {}, kRunTokens, 0, 0, kRunTokens, {}, {}};
    RowCursor cursor(a, row);
    for (int r = 0; r < rows; ++r, cursor.next()) {
        const int64_t position = bundle.position(cursor.token);
        auto [begin, end] = visible(a, position, block);
        if (a.slopes) {
            tile.slope[r] = a.slopes[head * cursor.group + cursor.member];
            tile.distance[r] = position - (block == kSinkBlock ? 0 : block * kRunTokens);
        }
        tile.begin[r] = begin;
        tile.end[r] = end;
        if (begin > tile.common_begin) tile.common_begin = begin;
        if (end < tile.common_end) tile.common_end = end;
        if (begin >= end) continue;
        if (begin < tile.first) tile.first = begin;
        if (end > tile.last) tile.last = end;
    }
    return tile;
}

// A tile's queries as Source stores them, side by side and padded with zeros.
template <class Source>
static void load_queries(const AttentionArgs& a, const Bundle& bundle, int head, int64_t row,
                         int rows, float* queries) {
    int64_t D = a.layout.head_dim;
    RowCursor cursor(a, row);
    for (int r = 0; r < rows; ++r, cursor.next(), queries += kQueryStride) {
        const float* q = a.qkv + cursor.query(a, bundle, head);
        int64_t d = 0;
        for (; d + kLanes <= D; d += kLanes) Source::store(queries, d, vload(q + d));
        if (d < D) Source::store(queries, d, vload_n(q + d, int(D - d)));
    }
}

// Asks for the queries and outputs of a coming tile: rows lie too far apart for the hardware to
// guess.
static void prefetch_rows(const AttentionArgs& a, const Bundle& bundle, int head, int64_t row,
                          int rows) {
    RowCursor cursor(a, row);
    for (int r = 0; r < rows; ++r, cursor.next()) {
        const float* q = a.qkv + cursor.query(a, bundle, head);
        const float* out = a.out + cursor.output(a, bundle, head);
        for (int64_t d = 0; d < a.layout.head_dim; d += 16) {
            __builtin_prefetch(q + d);
            __builtin_prefetch(out + d, 1);
        }
    }
}

// What a row's weighted values are multiplied with: 1 / sum, the sink's weight in the sum.
GENFAST_INLINE Vec normaliser(const AttentionArgs& a, int64_t h, float m, float l) {
    if (!a.sink_logits) return vset(1.0f / l);
    // Records hold powers of two.
    const Vec sink = vset(a.sink_logits[h] * 1.44269504f), mine = vset(m), top = vmax(sink, mine);
    const Vec kept = vexp2<5>(vsub(mine, top));
    return vdiv(kept, vfma(vset(l), kept, vexp2<5>(vsub(sink, top))));
}

static void write_output(const AttentionArgs& a, const Bundle& bundle, int head, int64_t row,
                         int64_t rows, const Records& records) {
    int64_t D = a.layout.head_dim, Ds = a.layout.stored_dim();
    RowCursor cursor(a, row);
    for (int64_t r = 0; r < rows; ++r, cursor.next()) {
        const float* o = records.o + r * Ds;
        float* out = a.out + cursor.output(a, bundle, head);
        Vec inverse =
            normaliser(a, head * cursor.group + cursor.member, records.m[r], records.l[r]);
        int64_t d = 0;
        for (; d + kLanes <= D; d += kLanes) vstore(out + d, vmul(vload(o + d), inverse));
        if (d < D) vstore_n(out + d, vmul(vload(o + d), inverse), int(D - d));
    }
}

}  // namespace genfast::GENFAST_ISA
