// A warpgroup that attends on Hopper's tensor cores (cuda_hopper.h): what it makes of a chunk's
// keys and values as they come.
#pragma once

#include "cuda/wgmma.h"
#include "kernels/attention/cuda_staged_pages.h"

namespace genfast::cuda {

constexpr int kRowBytes = 128;  // of operand b: 64 numbers, eight rows' pieces exchanged

// Byte `at` of row q of such a matrix.
__device__ inline std::byte* swizzled(std::byte* matrix, int q, int at) {
    return matrix + q * kRowBytes + (at ^ q % 8 * 16);
}
// The 16 numbers of unit u of all rows; matrices of 64 numbers follow each other. A sum, so that
// one descriptor is enough.
template <int rows>
__device__ inline uint64_t describe_unit(const std::byte* matrices, int u) {
    return describe(matrices, 0, 8 * kRowBytes, Swizzle::bytes128) +
           uint64_t((u / 4 * rows * kRowBytes + u % 4 * 32) / 16);
}

// Of a warpgroup that attends.
template <int eights, int sixteens>
struct alignas(1024) GroupMemory {
    static constexpr int kRoom = eights * kMmaColumns;
    std::byte queries[sixteens * kRoom * kRowBytes];
    std::byte weights[kChunkTokens / 64 * kRoom * kRowBytes];
    float warp_largest[kWarps][kRoom], warp_sums[kWarps][kRoom];  // of a chunk
    float shrink[kRoom];
    float largest[kRoom], sum[kRoom];                // of a block of context so far
    float merged_largest[kRoom], merged_sum[kRoom];  // of the blocks so far
    Factors factors[kRoom];
    // Of the block: what a query sees, where it lies in its sequence, where its results go (null:
    // it sees nothing). What all lanes would work out by divisions, and hold in registers.
    Tokens seen[kRoom];
    int64_t position[kRoom];
    float slope[kRoom];
    float* to[kRoom];
};

// A warpgroup's part of the block: its queries, and the lane's sums.
template <int eights, int sixteens>
struct Attender {
    static constexpr int N = eights * kMmaColumns, kSums = N / 2;
    static constexpr int kTogether = 2;  // units whose words are in registers at once
    using Stage = StagedPages<sixteens>;

    const AttentionArgs& a;
    const QueryTile& tile;
    GroupMemory<eights, sixteens>& shared;
    float score[2][kSums], value[sixteens][kSums];  // [4 j + e]: of query column(j, e)

    __device__ int thread() const { return int(threadIdx.x) % kWarpgroup; }

    __device__ void load_queries() {
        const int D = a.layout.head_dim;
        for (int i = thread(); i < N * sixteens * 32; i += kWarpgroup) {
            const int pair = i % (sixteens * 32), q = i / (sixteens * 32), d = 2 * pair;
            uint32_t word = 0;
            if (q < tile.queries()) {
                const float* x = row_of(a, tile.row_of(q)) + int64_t(tile.head_of(q)) * D;
                word = bf16_pair(d < D ? x[d] : 0.0f, d + 1 < D ? x[d + 1] : 0.0f);
            }
            *reinterpret_cast<uint32_t*>(
                swizzled(shared.queries + pair / 32 * N * kRowBytes, q, pair % 32 * 4)) = word;
        }
        if (const int q = thread(); q < N) {
            shared.merged_largest[q] = -INFINITY;
            shared.merged_sum[q] = 0;
            const bool there = q < tile.queries();
            shared.position[q] = there ? tile.position_of(q) : 0;
            shared.slope[q] = there && a.slopes ? a.slopes[tile.head_of(q)] : 0;
        }
        fence_written();  // begin_block() waits
    }

    // Products of `units` units of a, whose words load(unit, words) gets, by those of b at `by`:
    // the next ones' words come while products run.
    template <int units, int tiles, class Load>
    __device__ void multiply(float (&sums)[tiles][kSums], const std::byte* by, Load load) {
        constexpr int kSteps = units / kTogether;
        uint32_t words[2][kTogether * tiles][4];
        auto load_step = [&](int step) {
#pragma unroll
            for (int i = 0; i < kTogether; ++i)
                load(step * kTogether + i, &words[step % 2][i * tiles]);
        };
        load_step(0);
#pragma unroll
        for (int i = 0; i < tiles; ++i) hold_registers(sums[i]);
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
#pragma unroll
            for (int i = 0; i < kTogether * tiles; ++i) hold_registers(words[step % 2][i]);
            fence_products();
#pragma unroll
            for (int i = 0; i < kTogether * tiles; ++i)
                wgmma_bf16<N>(sums[i % tiles], words[step % 2][i],
                              describe_unit<N>(by, step * kTogether + i / tiles));
            end_products();
            if (step + 1 < kSteps) {
                if (step > 0) {
                    wait_for_products<1>();
#pragma unroll
                    for (int i = 0; i < kTogether * tiles; ++i)
                        hold_registers(words[(step + 1) % 2][i]);
                }
                load_step(step + 1);
            }
        }
        wait_for_products<0>();
#pragma unroll
        for (int i = 0; i < kTogether * tiles; ++i) {
            hold_registers(words[0][i]);
            hold_registers(words[1][i]);
        }
#pragma unroll
        for (int i = 0; i < tiles; ++i) hold_registers(sums[i]);
    }

    __device__ void score_chunk(const Stage& stage) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (float& x : score[i]) x = 0;
        multiply<sixteens * 4, 2>(score, shared.queries, [&](int unit, uint32_t (*words)[4]) {
            const TwoTiles tiles = stage.keys(unit);
#pragma unroll
            for (int i = 0; i < 8; ++i) words[i / 4][i % 4] = tiles.a[i / 4][i % 4];
        });
    }

    // Scores become weights in the block's memory, and what was summed so far is made to fit.
    __device__ void weigh_chunk(int64_t chunk, bool whole) {
        const int64_t first = chunk + warp() % kWarps * kPageTokens;
        const int mine = warp() % kWarps;
#pragma unroll
        for (int j = 0; j < eights; ++j) {
            float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    float& x = score[i][4 * j + e];
                    const int q = column(j, e);
                    const int64_t token = first + TwoTiles::row(i, e);
                    x = capped(a, x * a.scale);
                    if (a.slopes) x -= shared.slope[q] * float(shared.position[q] - token);
                    if (!whole && !shared.seen[q].has(token)) x = -INFINITY;
                    most[e % 2] = fmaxf(x, most[e % 2]);
                }
            for (int c = 0; c < 2; ++c) {
                most[c] = column_max(most[c]);
                if (lane_row() == 0) shared.warp_largest[mine][column(j, c)] = most[c];
            }
        }
        meet_warpgroup();
#pragma unroll
        for (int j = 0; j < eights; ++j) {
            float most[2], shrink[2], added[2] = {};
            for (int c = 0; c < 2; ++c) {
                const int q = column(j, c);
                const float before = shared.largest[q];
                most[c] = before;
                for (int w = 0; w < kWarps; ++w)
                    most[c] = fmaxf(most[c], shared.warp_largest[w][q]);
                shrink[c] = before == most[c] ? 1 : expf(before - most[c]);
            }
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    float& x = score[i][4 * j + e];
                    x = x == -INFINITY ? 0 : expf(x - most[e % 2]);
                    added[e % 2] += x;
                }
            for (int c = 0; c < 2; ++c) {
                const int q = column(j, c);
                added[c] = column_sum(added[c]);
                if (lane_row() == 0) {
                    shared.warp_sums[mine][q] = added[c];
                    if (mine == 0) shared.shrink[q] = shrink[c];
                }
                std::byte* to = swizzled(shared.weights + mine / 2 * N * kRowBytes, q,
                                         (mine % 2 * kPageTokens + first_token()) * 2);
                *reinterpret_cast<uint2*>(to) = {
                    bf16_pair(score[0][4 * j + c], score[0][4 * j + c + 2]),
                    bf16_pair(score[1][4 * j + c], score[1][4 * j + c + 2])};
            }
#pragma unroll
            for (int t = 0; t < sixteens; ++t)
#pragma unroll
                for (int e = 0; e < 4; ++e)  // + 0: never -0
                    value[t][4 * j + e] = fmaf(value[t][4 * j + e], shrink[e % 2], 0.0f);
        }
        fence_written();
        meet_warpgroup();
        if (const int q = thread(); q < N) {
            float added = shared.warp_sums[0][q], most = shared.largest[q];
            for (int w = 1; w < kWarps; ++w) added += shared.warp_sums[w][q];
            for (int w = 0; w < kWarps; ++w) most = fmaxf(most, shared.warp_largest[w][q]);
            shared.sum[q] = fmaf(shared.sum[q], shared.shrink[q], added);
            shared.largest[q] = most;
        }
    }

    // What no query of the tile sees is zeros, and so is what is not finite, which is added later
    // to those who see it.
    __device__ bool clean(uint32_t (&words)[4], Tokens by_some, int64_t first) const {
        bool finite = true;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int64_t token = first + 2 * lane_word() + i / 2 * 8;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const uint32_t exponent = half ? 0x7f800000u : 0x7f80u;
                const bool seen = by_some.has(token + half);
                const bool number = (words[i] & exponent) != exponent;
                if (!seen || !number) words[i] &= half ? 0xffffu : 0xffff0000u;
                finite &= number || !seen;
            }
        }
        return finite;
    }

    __device__ void add_values(const Stage& stage, int64_t chunk, Tokens by_some, bool whole) {
        bool finite = true;
        multiply<kChunkTokens / kUnit, sixteens>(
            value, shared.weights, [&](int unit, uint32_t (*words)[4]) {
#pragma unroll
                for (int t = 0; t < sixteens; ++t) {
                    stage.values(unit, t, words[t]);
                    if (!whole) finite &= clean(words[t], by_some, chunk + unit * kUnit);
                }
            });
        if (!__all_sync(~0u, finite)) add_not_finite(stage, chunk, by_some);
    }
    __device__ void add_not_finite(const Stage& stage, int64_t chunk, Tokens by_some) {
#pragma unroll 1
        for (int token = 0; token < kChunkTokens; ++token)
#pragma unroll
            for (int i = 0; i < sixteens * 2; ++i) {
                const int t = i / 2, row = i % 2;
                const uint2 pairs =
                    stage.value_pairs(token / 2 * 2, first_number<sixteens>(t) + sixteenth(0));
                const uint32_t word = row ? pairs.y : pairs.x;
                const float v = bits_to_f32(token % 2 ? word & 0xffff0000u : word << 16);
                if (fabsf(v) < INFINITY || !by_some.has(chunk + token)) continue;
#pragma unroll
                for (int s = 2 * row; s < kSums; s += 4)
                    for (int c = 0; c < 2; ++c) {
                        const int q = column(s / 4, c);
                        if (!shared.seen[q].has(chunk + token)) continue;
                        const uint16_t weight = *reinterpret_cast<const uint16_t*>(swizzled(
                            shared.weights + token / 64 * N * kRowBytes, q, token % 64 * 2));
                        value[t][s + c] = fmaf(bf16_to_f32(weight), v, value[t][s + c]);
                    }
            }
    }

    // Of the block that begins: what query q sees, and where its results go.
    template <class Seen, class To>
    __device__ void begin_block(Seen seen, To to) {
#pragma unroll
        for (int t = 0; t < sixteens; ++t)
#pragma unroll
            for (float& x : value[t]) x = 0;
        meet_warpgroup();  // the last block's have been read
        if (const int q = thread(); q < N) {
            shared.largest[q] = -INFINITY;
            shared.sum[q] = 0;
            const Tokens tokens = q < tile.queries() ? seen(q) : Tokens{0, 0};
            shared.seen[q] = tokens;
            shared.to[q] = tokens.begin < tokens.end ? to(q) : nullptr;
        }
        meet_warpgroup();
    }

    // fn(query, where its number d is or goes, sum) of the lane's.
    template <class Fn>
    __device__ void each_number(Fn fn) {
#pragma unroll
        for (int s = 0; s < kSums; ++s) {
            const int q = column(s / 4, s);
            float* to = shared.to[q];
            if (!to) continue;
#pragma unroll
            for (int t = 0; t < sixteens; ++t) {
                const int d = first_number<sixteens>(t) + sixteenth(s % 4);
                if (d < a.layout.head_dim) fn(q, to[d], value[t][s]);
            }
        }
    }

    // The block's results, as records.
    __device__ void keep_block() {
        meet_warpgroup();
        each_number([&](int, float& to, float x) { to = x; });
        if (const int q = thread(); q < N && shared.to[q]) {
            shared.to[q][-2] = shared.largest[q];
            shared.to[q][-1] = shared.sum[q];
        }
    }

    // The blocks' results are merged where the rows' results will be.
    __device__ float* out(int q) const {
        return a.out + (tile.row_of(q) * a.heads + tile.head_of(q)) * a.layout.head_dim;
    }
    __device__ void begin_merging() {
        begin_block([](int) { return Tokens{0, 1}; }, [&](int q) { return out(q); });
        each_number([&](int, float& to, float) { to = 0; });
    }
    __device__ void merge_block() {
        meet_warpgroup();
        if (const int q = thread(); q < N && shared.to[q])
            shared.factors[q] = merge_sums(shared.merged_largest[q], shared.merged_sum[q],
                                           shared.largest[q], shared.sum[q]);
        meet_warpgroup();
        each_number([&](int q, float& to, float x) {
            to = fmaf(to, shared.factors[q].mine, x * shared.factors[q].other);
        });
    }
    __device__ void finish() {
        begin_block([](int) { return Tokens{0, 1}; }, [&](int q) { return out(q); });
        if (const int q = thread(); a.sink_logits && q < tile.queries())
            shared.factors[q] = merge_sums(shared.merged_largest[q], shared.merged_sum[q],
                                           a.sink_logits[tile.head_of(q)], 1);
        meet_warpgroup();
        each_number([&](int q, float& to, float) {
            if (a.sink_logits) to = fmaf(to, shared.factors[q].mine, 0.0f);
            to /= shared.merged_sum[q];
        });
    }
};

}  // namespace genfast::cuda
