// A tile of queries by a cache in bf16, on tensor cores.
//
// Both products take the cache as operand `a`, as it lies, and queries as the columns of `b`: a
// page of keys is 32 rows of scores, and 16 neighbours of a value's numbers are 16 rows of the
// result. A block of context goes by in chunks of 128 tokens at absolute positions. The four warps
// score a page of it each; then they know the chunk's largest score, leave its weights, rounded to
// bf16, in shared memory, and each adds up its own numbers of the values.
//
// A column depends on nothing in another, so a row has the same bits alone and in any tile: chunks
// that it does not see add exact zeros, a sum is never -0, and values that it does not see are
// zeros too, if they are not finite.
//
// The floor, of a tile of 32 queries and 128 tokens of D = 128: 512 mma for the two products, 1,024
// cycles of an A100's multiprocessor, and 64 KB from L2, whose 5,120 bytes a cycle are 1,400 cycles
// of its share. Tiles of more queries would lower that, if registers held their sums.
#pragma once

#include "cuda/tensor_core.h"
#include "kernels/attention/cuda_query_tile.h"

namespace genfast::cuda {

constexpr int kUnit = 16;  // tokens, or numbers of a head, along which a tensor core sums
constexpr int kChunkTokens = kWarps * kPageTokens;

template <int eights>
struct TileMemory {
    static constexpr int kRoom = eights * kMmaColumns;
    uint2 queries[kMaxHeadDim / kUnit][kRoom][kMmaWords / 2];
    uint2 weights[kChunkTokens / kUnit][kRoom][kMmaWords / 2];
    float largest[kWarps][kRoom], sums[kWarps][kRoom];
    Tokens seen[kRoom];  // of the block, by each query
};

// The lane's columns are queries column(j, 0) and column(j, 1) of every eight; e % 2 says which.
__device__ inline int column(int j, int e) {
    return j * kMmaColumns + lane_column(e);
}

// Over the lanes that have the same columns.
__device__ inline float column_max(float x) {
    for (int distance = 4; distance < kWarp; distance *= 2)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, distance));
    return x;
}
__device__ inline float column_sum(float x) {
    for (int distance = 4; distance < kWarp; distance *= 2) x += __shfl_xor_sync(~0u, x, distance);
    return x;
}

template <int eights>
__device__ void load_queries(const AttentionArgs& a, const QueryTile& tile,
                             TileMemory<eights>& shared) {
    const int D = a.layout.head_dim, units = (D + kUnit - 1) / kUnit, room = eights * kMmaColumns;
    for (int i = int(threadIdx.x); i < units * room * kMmaWords; i += kThreads) {
        const int word = i % kMmaWords, q = i / kMmaWords % room, unit = i / kMmaWords / room;
        const int d = unit * kUnit + 2 * word;
        uint32_t pair = 0;
        if (q < tile.queries()) {
            const float* x = row_of(a, tile.row_of(q)) + int64_t(tile.head_of(q)) * D;
            pair = bf16_pair(d < D ? x[d] : 0.0f, d + 1 < D ? x[d + 1] : 0.0f);
        }
        reinterpret_cast<uint32_t*>(shared.queries[unit][q])[word] = pair;
    }
}

// A page's scores: score[j][i][e] is of token TwoTiles::row(i, e) by query column(j, e).
template <int eights>
__device__ void score_page(const AttentionArgs& a, int32_t page, int kv,
                           const TileMemory<eights>& shared, float (&score)[eights][2][4]) {
    const uint4* keys = reinterpret_cast<const uint4*>(a.cache + a.layout.keys(page, kv));
    const int D = a.layout.head_dim, pairs = (D + 1) / 2;  // what lies beyond is anything
#pragma unroll 2
    for (int unit = 0; unit * kUnit < D; ++unit) {
        auto line = [&](int word) {
            const int pair = unit * kMmaWords + word;
            return pair < pairs ? keys[pair * (kPageTokens / 4) + lane_row()] : uint4{};
        };
        const TwoTiles tokens(line(2 * lane_word()), line(2 * lane_word() + 1));
#pragma unroll
        for (int j = 0; j < eights; ++j) {
            const uint2 query = shared.queries[unit][j * kMmaColumns + lane_row()][lane_word()];
            mma_bf16(score[j][0], tokens.a[0], query);
            mma_bf16(score[j][1], tokens.a[1], query);
        }
    }
}

// The lane's words of 16 numbers of a head (two of each row of its pair) of 16 tokens.
struct ValueWords {
    uint32_t words[4];

    __device__ ValueWords(const AttentionArgs& a, int32_t page, int kv, int d, int token) {
        const int panel = d / int(a.layout.panel());
        const std::byte* values = a.cache + a.layout.values(page, kv, panel);
        auto pair = [&](int s) {
            return *reinterpret_cast<const uint2*>(values +
                                                   a.layout.value_element(s, d + 2 * lane_row()));
        };
        const uint2 low = pair(token + 4 * lane_word()), high = pair(token + 4 * lane_word() + 2);
        words[0] = low.x, words[1] = low.y, words[2] = high.x, words[3] = high.y;
    }
    __device__ static int row(int e) { return 2 * lane_row() + e / 2; }

    // Zeros for what is not among `tokens`; the unit's first is `first`.
    __device__ void keep(Tokens tokens, int64_t first) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int64_t token = first + 4 * lane_word() + i / 2 * 2;
            if (!tokens.has(token)) words[i] &= 0xffff0000u;
            if (!tokens.has(token + 1)) words[i] &= 0xffffu;
        }
    }
    // Whether all lanes' are.
    __device__ bool finite() const {
        bool all = true;
#pragma unroll
        for (uint32_t word : words)
            all &= (word & 0x7f80u) != 0x7f80u && (word & 0x7f800000u) != 0x7f800000u;
        return __all_sync(~0u, all);
    }
};

// Of each of the lane's columns: e^(score - largest) summed, and times the values, whose numbers
// the block's warps share out in sixteens.
template <int eights, int d_tiles>
struct TileSums {
    float largest[eights][2], sum[eights][2] = {}, value[d_tiles][eights][4] = {};

    __device__ TileSums() {
        for (auto& pair : largest) pair[0] = pair[1] = -INFINITY;
    }

    // fn(first number) of the lane's sixteens, and value[i].
    template <class Fn>
    __device__ static void each_sixteen(const AttentionArgs& a, Fn fn) {
#pragma unroll
        for (int i = 0; i < d_tiles; ++i) {
            const int d = (i * kWarps + warp()) * kUnit;
            if (d < a.layout.head_dim) fn(i, d);
        }
    }

    __device__ void add_chunk(const AttentionArgs& a, const QueryTile& tile, int64_t chunk,
                              Tokens by_some, Tokens by_all, TileMemory<eights>& shared) {
        const int64_t first = chunk + warp() * kPageTokens;
        float score[eights][2][4] = {};
        if (first < by_some.end && first + kPageTokens > by_some.begin)
            score_page<eights>(a, tile.span->pages[first / kPageTokens], tile.kv, shared, score);
        auto sees = [&](int j, int i, int e) {
            return shared.seen[column(j, e)].has(first + TwoTiles::row(i, e));
        };
#pragma unroll
        for (int j = 0; j < eights; ++j) {
            float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    float& x = score[j][i][e];
                    x *= a.scale;
                    if (a.cap > 0) x = a.cap * tanhf(x / a.cap);
                    const int q = column(j, e);
                    if (a.slopes && q < tile.queries())
                        x -= a.slopes[tile.head_of(q)] *
                             float(tile.position_of(q) - first - TwoTiles::row(i, e));
                    if (sees(j, i, e)) most[e % 2] = fmaxf(x, most[e % 2]);
                }
            for (int c = 0; c < 2; ++c) {
                most[c] = column_max(most[c]);
                if (lane_row() == 0) shared.largest[warp()][column(j, c)] = most[c];
            }
        }
        __syncthreads();
        float shrink[eights][2];
#pragma unroll
        for (int j = 0; j < eights; ++j) {
            float added[2] = {};
            for (int c = 0; c < 2; ++c) {
                float most = largest[j][c];
                for (int w = 0; w < kWarps; ++w)
                    most = fmaxf(most, shared.largest[w][column(j, c)]);
                shrink[j][c] = largest[j][c] == most ? 1 : expf(largest[j][c] - most);
                largest[j][c] = most;
            }
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    float& x = score[j][i][e];
                    x = sees(j, i, e) ? expf(x - largest[j][e % 2]) : 0;
                    added[e % 2] += x;
                }
            for (int c = 0; c < 2; ++c) {
                added[c] = column_sum(added[c]);
                if (lane_row() == 0) shared.sums[warp()][column(j, c)] = added[c];
                // Its four tokens are words 2 g and 2 g + 1 of the page's 16.
                shared.weights[warp() * 2 + lane_row() / 4][column(j, c)][lane_row() % 4] = {
                    bf16_pair(score[j][0][c], score[j][0][c + 2]),
                    bf16_pair(score[j][1][c], score[j][1][c + 2])};
            }
        }
        __syncthreads();
#pragma unroll
        for (int j = 0; j < eights; ++j)
            for (int c = 0; c < 2; ++c) {
                float added = shared.sums[0][column(j, c)];
                for (int w = 1; w < kWarps; ++w) added += shared.sums[w][column(j, c)];
                sum[j][c] = fmaf(sum[j][c], shrink[j][c], added);
            }
        each_sixteen(a, [&](int t, int) {
#pragma unroll
            for (int j = 0; j < eights; ++j)
#pragma unroll
                for (int e = 0; e < 4; ++e)  // + 0: never -0
                    value[t][j][e] = fmaf(value[t][j][e], shrink[j][e % 2], 0.0f);
        });
#pragma unroll 2
        for (int unit = 0; unit < kChunkTokens / kUnit; ++unit)
            weigh_unit(a, tile, chunk + unit * kUnit, unit, by_some, by_all, shared);
    }

    // Adds the weighted values of 16 tokens.
    __device__ void weigh_unit(const AttentionArgs& a, const QueryTile& tile, int64_t first,
                               int unit, Tokens by_some, Tokens by_all,
                               const TileMemory<eights>& shared) {
        if (first >= by_some.end || first + kUnit <= by_some.begin) return;
        const bool whole = first >= by_all.begin && first + kUnit <= by_all.end;
        const int32_t page = tile.span->pages[first / kPageTokens];
        each_sixteen(a, [&](int t, int d) {
            ValueWords values(a, page, tile.kv, d, int(first % kPageTokens));
            if (!whole) values.keep(by_some, first);
            auto weigh = [&](const ValueWords& by, auto wanted) {
#pragma unroll
                for (int j = 0; j < eights; ++j) {
                    float to[4];
#pragma unroll
                    for (int e = 0; e < 4; ++e) to[e] = value[t][j][e];
                    mma_bf16(to, by.words,
                             shared.weights[unit][j * kMmaColumns + lane_row()][lane_word()]);
#pragma unroll
                    for (int e = 0; e < 4; ++e)
                        if (wanted(column(j, e))) value[t][j][e] = to[e];
                }
            };
            if (whole || values.finite()) return weigh(values, [](int) { return true; });
            for (int r = 0; r < tile.rows; ++r) {  // row by row, by what each one sees
                ValueWords own = values;
                own.keep(shared.seen[r * tile.heads], first);
                weigh(own, [&](int q) { return q / tile.heads == r; });
            }
        });
    }

    __device__ void merge(int j, int c, float other_largest, float other_sum,
                          const TileSums* other) {
        const Factors by = merge_sums(largest[j][c], sum[j][c], other_largest, other_sum);
#pragma unroll
        for (int t = 0; t < d_tiles; ++t)
#pragma unroll
            for (int e = c; e < 4; e += 2)
                value[t][j][e] = fmaf(value[t][j][e], by.mine,
                                      (other ? other->value[t][j][e] : 0.0f) * by.other);
    }

    // fn(query, j, c) of the lane's that there are.
    template <class Fn>
    __device__ static void each_query(const QueryTile& tile, Fn fn) {
#pragma unroll
        for (int j = 0; j < eights; ++j)
#pragma unroll
            for (int c = 0; c < 2; ++c)
                if (const int q = column(j, c); q < tile.queries()) fn(q, j, c);
    }
    // The query's values, over `divisor`.
    __device__ void write(const AttentionArgs& a, int j, int c, float divisor, float* to) const {
        each_sixteen(a, [&](int t, int first) {
#pragma unroll
            for (int e = c; e < 4; e += 2) {
                const int d = first + ValueWords::row(e);
                if (d < a.layout.head_dim) to[d] = value[t][j][e] / divisor;
            }
        });
    }
};

// Block (b, kv, t): tile t of the rows by block b of its context, which leaves records; or (split
// == false) by all of them.
template <int eights, int d_tiles>
__global__ void __launch_bounds__(kThreads)
    attend_tiles(AttentionArgs a, TileShape shape, bool split) {
    wait_for_earlier_launches();
    using Sums = TileSums<eights, d_tiles>;
    __shared__ TileMemory<eights> shared;
    const QueryTile tile = find_tile(a, shape, blockIdx.z, int(blockIdx.y));
    if (!tile.span) return;
    const TileBlocks blocks(a, tile);
    const int64_t begin = split ? blockIdx.x : 0, end = split ? begin + 1 : blocks.count();
    if (begin >= blocks.count()) return;
    load_queries(a, tile, shared);
    Sums merged;
    for (int64_t b = begin; b < end; ++b) {
        __syncthreads();  // the last block's have been read
        for (int q = int(threadIdx.x); q < eights * kMmaColumns; q += kThreads)
            shared.seen[q] =
                q < tile.queries() ? blocks.seen(b, Visible(a, tile.position_of(q))) : Tokens{0, 0};
        __syncthreads();
        const Tokens by_some = blocks.by_some(b), by_all = blocks.by_all(b);
        Sums sums;
        for (int64_t chunk = by_some.begin / kChunkTokens * kChunkTokens; chunk < by_some.end;
             chunk += kChunkTokens)
            sums.add_chunk(a, tile, chunk, by_some, by_all, shared);
        Sums::each_query(tile, [&](int q, int j, int c) {
            if (shared.seen[q].begin >= shared.seen[q].end) return;
            if (!split) return merged.merge(j, c, sums.largest[j][c], sums.sum[j][c], &sums);
            const int64_t own = blocks.index_for(b, Visible(a, tile.position_of(q)));
            float* record = record_of(a, tile.row_of(q), tile.head_of(q), own, int64_t(gridDim.x));
            if (threadIdx.x < 4) {
                record[0] = sums.largest[j][c];
                record[1] = sums.sum[j][c];
            }
            sums.write(a, j, c, 1, record + 2);
        });
    }
    if (split) return;
    Sums::each_query(tile, [&](int q, int j, int c) {
        if (a.sink_logits) merged.merge(j, c, a.sink_logits[tile.head_of(q)], 1, nullptr);
        merged.write(a, j, c, merged.sum[j][c],
                     a.out + (tile.row_of(q) * a.heads + tile.head_of(q)) * a.layout.head_dim);
    });
}

}  // namespace genfast::cuda
