// A tile of queries that share a KV head: which rows and heads these are, and what they see.
//
// Query q of a tile is head q % heads of row q / heads. A tile holds rows of one sequence alone, as
// many as there is room for.
#pragma once

#include "kernels/attention/cuda_block.h"

namespace genfast::cuda {

struct QueryTile {
    const SequenceSpan* span;  // null: there is no such tile
    int64_t row, position;     // of its first row: in the step, in the sequence
    int rows, head, heads;     // heads [head, head + heads) of all, of KV head `kv`
    int kv;

    __device__ int queries() const { return rows * heads; }
    __device__ int64_t row_of(int q) const { return row + q / heads; }
    __device__ int64_t position_of(int q) const { return position + q / heads; }
    __device__ int head_of(int q) const { return head + q % heads; }
    // The i-th of its parts of so many rows; the last ones may have none.
    __device__ QueryTile part(int i, int of_rows) const {
        QueryTile part = *this;
        part.row += i * of_rows;
        part.position += i * of_rows;
        part.rows -= i * of_rows;
        if (part.rows > of_rows) part.rows = of_rows;
        if (part.rows < 0) part.rows = 0;
        return part;
    }
};

__device__ inline float capped(const AttentionArgs& a, float score) {
    return a.cap > 0 ? a.cap * tanhf(score / a.cap) : score;
}

// How the query heads of a KV head are shared out to tiles with room for so many queries.
struct TileShape {
    int heads, parts, rows;  // of a tile at most; tiles that a row's group takes; rows at most

    // `groups` of rows, with room for so many queries each.
    __host__ __device__ TileShape(const AttentionArgs& a, int room, int groups = 1) {
        const int group = a.heads / a.layout.heads;
        heads = group < room ? group : room;
        parts = (group + heads - 1) / heads;
        rows = room / heads * groups;
    }
    // No fewer than there are tiles of rows.
    int64_t most_tiles(const AttentionArgs& a) const { return a.T / rows + a.span_count; }
};

// Tile `index` of rows, and part `part` of KV heads and their groups.
__device__ inline QueryTile find_tile(const AttentionArgs& a, const TileShape& shape, int64_t index,
                                      int part) {
    QueryTile tile{};
    tile.kv = part / shape.parts;
    const int group = a.heads / a.layout.heads, first = part % shape.parts * shape.heads;
    tile.head = tile.kv * group + first;
    tile.heads = group - first < shape.heads ? group - first : shape.heads;
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        const int64_t tiles = (span.rows + shape.rows - 1) / shape.rows;
        if (index >= tiles) {
            index -= tiles;
            continue;
        }
        const int64_t row = index * shape.rows, left = span.rows - row;
        tile.span = &span;
        tile.row = span.row + row;
        tile.position = span.start + row;
        tile.rows = int(left < shape.rows ? left : shape.rows);
        break;
    }
    return tile;
}

// The blocks that some row of a tile sees, by what the first and the last of them see: the sinks,
// then blocks at absolute positions.
struct TileBlocks {
    Visible first, last;

    __device__ TileBlocks(const AttentionArgs& a, const QueryTile& tile)
        : first(a, tile.position), last(a, tile.position + tile.rows - 1) {}

    __device__ int64_t sinks() const { return last.sinks > 0; }
    __device__ int64_t count() const {
        const int64_t from = first.from / kRunTokens;
        return sinks() + (last.from < last.end ? (last.end - 1) / kRunTokens - from + 1 : 0);
    }
    // What a row that sees `visible` sees of block i.
    __device__ Tokens seen(int64_t i, const Visible& visible) const {
        if (i < sinks()) return {0, visible.sinks};
        const int64_t start = (first.from / kRunTokens + i - sinks()) * kRunTokens;
        const int64_t end = start + kRunTokens;
        return {start > visible.from ? start : visible.from, end < visible.end ? end : visible.end};
    }
    __device__ Tokens by_some(int64_t i) const { return between(i, first, last); }
    __device__ Tokens by_all(int64_t i) const { return between(i, last, first); }
    // From where the one begins to see to where the other ends.
    __device__ Tokens between(int64_t i, const Visible& begins, const Visible& ends) const {
        return {seen(i, begins).begin, seen(i, ends).end};
    }
    // Which block i is for a row that sees `visible`, from its own first on.
    __device__ int64_t index_for(int64_t i, const Visible& visible) const {
        return i < sinks() ? i : i - (visible.from / kRunTokens - first.from / kRunTokens);
    }
};

}  // namespace genfast::cuda
