// A tile of queries by the pages of a cache, on tensor cores.
//
// Both products take the cache as operand `a`, as it lies, and queries as the columns of `b`: a
// page of keys is 32 rows of scores, and 16 neighbours of a value's numbers are 16 rows of the
// result. A block of context goes by in chunks of 128 tokens at absolute positions. The four warps
// score a page of it each; then they know the chunk's largest score, leave its weights, rounded, in
// shared memory, and each adds up its own numbers of the values. How a page is multiplied, and what
// is rounded how, is `Pages`: Bf16Pages, or FixedPages of int8 and int4.
//
// A column depends on nothing in another, so a row has the same bits alone and in any tile: chunks
// that it does not see add exact zeros, and a sum is never -0.
//
// The floor, of a tile of 32 queries and 128 tokens of D = 128, in bf16: 512 mma for the two
// products, 1,024 cycles of an A100's multiprocessor, and 64 KB from L2, whose 5,120 bytes a cycle
// are 1,400 cycles of its share. Tiles of more queries would lower that, if registers held their
// sums. In int8 and int4, whose tiles have 16 queries: 512 cycles of mma, and 700 or 390 of L2.
#pragma once

#include "kernels/attention/cuda_bf16_pages.h"
#include "kernels/attention/cuda_fixed_pages.h"

namespace genfast::cuda {

template <class Pages>
struct TileMemory {
    Pages pages;
    float largest[kWarps][Pages::kRoom], sums[kWarps][Pages::kRoom];
    Tokens seen[Pages::kRoom];  // of the block, by each query
};

// Of each of the lane's columns: e^(score - largest) summed, and times the values, whose numbers
// the block's warps share out in sixteens.
template <class Pages>
struct TileSums {
    static constexpr int eights = Pages::kEights, sixteens = Pages::kSixteens;
    float largest[eights][2], sum[eights][2] = {}, value[sixteens][eights][4] = {};

    __device__ TileSums() {
        for (auto& pair : largest) pair[0] = pair[1] = -INFINITY;
    }

    // fn(first number) of the lane's sixteens, and value[i].
    template <class Fn>
    __device__ static void each_sixteen(const AttentionArgs& a, Fn fn) {
#pragma unroll
        for (int i = 0; i < sixteens; ++i) {
            const int d = first_number<sixteens>(i);
            if (d < a.layout.head_dim) fn(i, d);
        }
    }

    __device__ void add_chunk(const AttentionArgs& a, const QueryTile& tile, int64_t chunk,
                              Tokens by_some, Tokens by_all, TileMemory<Pages>& shared) {
        const int64_t first = chunk + warp() * kPageTokens;
        float score[eights][2][4] = {};
        const int32_t* page = nullptr;  // nobody sees it
        if (first < by_some.end && first + kPageTokens > by_some.begin) {
            page = tile.span->pages + first / kPageTokens;
            shared.pages.score_page(a, *page, tile.kv, score);
        }
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
                    x = capped(a, x);
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
            }
        }
        shared.pages.keep_weights(a, page, tile.kv, score);
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
        shared.pages.weigh_chunk(a, tile, chunk, by_some, by_all, shared.seen, value);
    }

    __device__ void merge(int j, int c, float other_largest, float other_sum,
                          const TileSums* other) {
        const Factors by = merge_sums(largest[j][c], sum[j][c], other_largest, other_sum);
#pragma unroll
        for (int t = 0; t < sixteens; ++t)
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
                const int d = first + sixteenth(e);
                if (d < a.layout.head_dim) to[d] = value[t][j][e] / divisor;
            }
        });
    }
};

// Block (b, kv, t): tile t of the rows by block b of its context, which leaves records; or (split
// == false) by all of them.
template <class Pages>
__global__ void __launch_bounds__(kThreads)
    attend_tiles(AttentionArgs a, TileShape shape, bool split) {
    wait_for_earlier_launches();
    using Sums = TileSums<Pages>;
    __shared__ TileMemory<Pages> shared;
    const QueryTile tile = find_tile(a, shape, blockIdx.z, int(blockIdx.y));
    if (!tile.span) return;
    const TileBlocks blocks(a, tile);
    const int64_t begin = split ? blockIdx.x : 0, end = split ? begin + 1 : blocks.count();
    if (begin >= blocks.count()) return;
    shared.pages.load_queries(a, tile);
    Sums merged;
    for (int64_t b = begin; b < end; ++b) {
        __syncthreads();  // the last block's have been read
        for (int q = int(threadIdx.x); q < Pages::kRoom; q += kThreads)
            shared.seen[q] =
                q < tile.queries() ? blocks.seen(b, Visible(a, tile.position_of(q))) : Tokens{0, 0};
        __syncthreads();
        const Tokens by_some = blocks.by_some(b), by_all = blocks.by_all(b);
        Sums sums;
        for (int64_t chunk = first_chunk(by_some); chunk < by_some.end; chunk += kChunkTokens)
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
