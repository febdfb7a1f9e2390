// Pages in bf16 by a tile of queries: products of bf16, summed in float.
//
// What a row does not see must not reach it even times zero, if it is not finite: tokens that no
// row of the tile sees become zeros, and where rows differ such values are added row by row.
#pragma once

#include "kernels/attention/cuda_fragments.h"
#include "kernels/attention/cuda_query_tile.h"

namespace genfast::cuda {

constexpr int kUnit = 16;  // tokens, or numbers of a head, along which a tensor core sums

// The lane's words of 16 numbers of a head (two of each row of its pair) of 16 tokens.
struct Bf16Values {
    uint32_t words[4];

    __device__ Bf16Values(const AttentionArgs& a, int32_t page, int kv, int d, int token) {
        const int panel = d / int(a.layout.panel());
        const std::byte* values = a.cache + a.layout.values(page, kv, panel);
        auto pair = [&](int s) {
            return *reinterpret_cast<const uint2*>(values +
                                                   a.layout.value_element(s, d + sixteenth(0)));
        };
        const uint2 low = pair(token + 4 * lane_word()), high = pair(token + 4 * lane_word() + 2);
        words[0] = low.x, words[1] = low.y, words[2] = high.x, words[3] = high.y;
    }

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

template <int eights, int sixteens>
struct Bf16Pages {
    static constexpr int kEights = eights, kSixteens = sixteens;
    static constexpr int kRoom = eights * kMmaColumns;

    uint2 queries[sixteens * kWarps][kRoom][kMmaWords / 2];
    uint2 weights[kChunkTokens / kUnit][kRoom][kMmaWords / 2];

    __device__ void load_queries(const AttentionArgs& a, const QueryTile& tile) {
        const int D = a.layout.head_dim, units = (D + kUnit - 1) / kUnit;
        for (int i = int(threadIdx.x); i < units * kRoom * kMmaWords; i += kThreads) {
            const int word = i % kMmaWords, q = i / kMmaWords % kRoom, unit = i / kMmaWords / kRoom;
            const int d = unit * kUnit + 2 * word;
            uint32_t pair = 0;
            if (q < tile.queries()) {
                const float* x = row_of(a, tile.row_of(q)) + int64_t(tile.head_of(q)) * D;
                pair = bf16_pair(d < D ? x[d] : 0.0f, d + 1 < D ? x[d + 1] : 0.0f);
            }
            reinterpret_cast<uint32_t*>(queries[unit][q])[word] = pair;
        }
    }

    // A page's scores: score[j][i][e] is of token TwoTiles::row(i, e) by query column(j, e).
    __device__ void score_page(const AttentionArgs& a, int32_t page, int kv,
                               float (&score)[eights][2][4]) const {
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
                const uint2 query = queries[unit][j * kMmaColumns + lane_row()][lane_word()];
                mma_bf16(score[j][0], tokens.a[0], query);
                mma_bf16(score[j][1], tokens.a[1], query);
            }
        }
#pragma unroll
        for (int j = 0; j < eights; ++j)
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int e = 0; e < 4; ++e) score[j][i][e] *= a.scale;
    }

    // Of the warp's page, rounded. The lane's four tokens are words 2 g and 2 g + 1 of its 16.
    __device__ void keep_weights(const AttentionArgs&, const int32_t*, int,
                                 const float (&weight)[eights][2][4]) {
#pragma unroll
        for (int j = 0; j < eights; ++j)
            for (int c = 0; c < 2; ++c)
                weights[warp() * 2 + lane_row() / 4][column(j, c)][lane_row() % 4] = {
                    bf16_pair(weight[j][0][c], weight[j][0][c + 2]),
                    bf16_pair(weight[j][1][c], weight[j][1][c + 2])};
    }

    // Adds a chunk's weighted values to those of the lane. `seen`: by each query.
    __device__ void weigh_chunk(const AttentionArgs& a, const QueryTile& tile, int64_t chunk,
                                Tokens by_some, Tokens by_all, const Tokens* seen,
                                float (&value)[sixteens][eights][4]) const {
#pragma unroll 2
        for (int unit = 0; unit < kChunkTokens / kUnit; ++unit) {
            const int64_t first = chunk + unit * kUnit;
            if (first >= by_some.end || first + kUnit <= by_some.begin) continue;
            const bool whole = first >= by_all.begin && first + kUnit <= by_all.end;
            const int32_t page = tile.span->pages[first / kPageTokens];
#pragma unroll
            for (int t = 0; t < sixteens; ++t) {
                const int d = first_number<sixteens>(t);
                if (d >= a.layout.head_dim) continue;
                Bf16Values values(a, page, tile.kv, d, int(first % kPageTokens));
                if (!whole) values.keep(by_some, first);
                if (whole || values.finite()) {
                    add(values, unit, value[t], [](int) { return true; });
                    continue;
                }
                for (int r = 0; r < tile.rows; ++r) {  // row by row, by what each one sees
                    Bf16Values own = values;
                    own.keep(seen[r * tile.heads], first);
                    add(own, unit, value[t], [&](int q) { return q / tile.heads == r; });
                }
            }
        }
    }

  private:
    template <class Wanted>
    __device__ void add(const Bf16Values& values, int unit, float (&value)[eights][4],
                        Wanted wanted) const {
#pragma unroll
        for (int j = 0; j < eights; ++j) {
            float to[4];
#pragma unroll
            for (int e = 0; e < 4; ++e) to[e] = value[j][e];
            mma_bf16(to, values.words, weights[unit][j * kMmaColumns + lane_row()][lane_word()]);
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (wanted(column(j, e))) value[j][e] = to[e];
        }
    }
};

}  // namespace genfast::cuda
