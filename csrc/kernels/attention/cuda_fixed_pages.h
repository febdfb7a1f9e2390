// Pages in int8 or int4 by a tile of queries: exact products of integers, as the CPU's
// (product_fixed.h).
//
// Queries, and weights times the scales of their values, become 16-bit integers of a unit of their
// own, 256 high + low, whose bytes are multiplied apart. A key or a value is a signed byte as it
// lies; a nibble at the top of a byte is 16 times what it stands for. A tensor core takes 32
// neighbours: of d, which have one scale in int4; of tokens, a page.
//
// Bytes are numbers whatever they hold, so that a token that is not seen adds its zero. A token
// that is not finite has a scale that is not, and its weight is none.
#pragma once

#include <type_traits>

#include "cuda/half.h"
#include "kernels/attention/cuda_fragments.h"
#include "kernels/attention/cuda_int4.h"
#include "kernels/attention/cuda_query_tile.h"

namespace genfast::cuda {

constexpr int kStep = 32;                // neighbours along which a tensor core sums
constexpr float kFixedMost = 127 * 256;  // as simd/fixed.h

// x * inverse, rounded, plus 128 in the lowest 16 bits: what is above the lowest byte is then
// `high`, and that byte is `low` plus 128.
__device__ inline uint32_t fixed_bits(float x, float inverse) {
    return f32_to_bits(fmaf(x, inverse, 12582912.0f + 128));
}
// Nothing that small counts, and its inverse must not overflow.
__device__ inline float fixed_inverse(float largest) {
    return largest > 1e-30f ? kFixedMost / largest : 0.0f;
}

// Of a lane's 8 neighbours of a column: x and y high, z and w low.
struct FixedWords {
    uint4 words;

    template <class Number>
    __device__ FixedWords(Number number, float inverse) {
        uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
            pairs[i] = __byte_perm(fixed_bits(number(2 * i), inverse),
                                   fixed_bits(number(2 * i + 1), inverse), 0x5140);
        words.x = __byte_perm(pairs[0], pairs[1], 0x7632);
        words.y = __byte_perm(pairs[2], pairs[3], 0x7632);
        words.z = __byte_perm(pairs[0], pairs[1], 0x5410) ^ 0x80808080u;
        words.w = __byte_perm(pairs[2], pairs[3], 0x5410) ^ 0x80808080u;
    }
};

// Sums of products, of 16 steps at most.
struct FixedSums {
    int32_t high[4] = {}, low[4] = {};

    __device__ void add(const uint32_t (&tile)[4], uint4 words) {
        mma_s8(high, tile, {words.x, words.y});
        mma_s8(low, tile, {words.z, words.w});
    }
    __device__ float number(int e) const { return float(high[e] * 256 + low[e]); }
};

// How a row's dwords become the two words that a lane takes of a step: dwords 2 t and 2 t + 1 of 8;
// or dword t of 4, with both in it.
template <KvType type>
struct CacheStep {
    static constexpr bool kNibbles = type == KvType::int4;
    static constexpr int kDwords = kNibbles ? 4 : 8;
    // What products are multiplied by besides.
    static constexpr float kFactor = kNibbles ? 0.0625f / kFixedMost : 1 / kFixedMost;

    __device__ static int first() { return kNibbles ? lane_word() : 2 * lane_word(); }
    __device__ static uint32_t low(uint32_t first, uint32_t) {
        return kNibbles ? low_nibbles(first) : first ^ 0x80808080u;
    }
    __device__ static uint32_t high(uint32_t first, uint32_t second) {
        return kNibbles ? high_nibbles(first) : second ^ 0x80808080u;
    }
};

template <KvType type, int eights, int sixteens>
struct FixedPages {
    using Step = CacheStep<type>;
    static constexpr int kEights = eights, kSixteens = sixteens;
    static constexpr int kRoom = eights * kMmaColumns, kSteps = sixteens * 2;
    static constexpr int kWeightStride = kPageTokens + 4;  // lanes of a load meet all banks

    uint4 queries[kSteps][kRoom][4];
    alignas(16) float weights[kWarps][kRoom][kWeightStride];
    float units[kRoom];          // of the queries
    float peaks[kWarps][kRoom];  // of weights times scales

    // By a warp each. int4: turned as the keys are, so that their products stay.
    __device__ void load_queries(const AttentionArgs& a, const QueryTile& tile) {
        const int64_t D = a.layout.head_dim, Ds = a.layout.stored_dim();
        for (int q = warp(); q < kRoom; q += kWarps) {
            const bool there = q < tile.queries();
            const float* row =
                row_of(a, there ? tile.row_of(q) : tile.row) + (there ? tile.head_of(q) : 0) * D;
            float x[kSteps], largest = 0, poison = 0;
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
                const int64_t d = step * kStep + lane();
                x[step] = there && d < D ? row[d] : 0;
                if (Step::kNibbles && (step + 1) * kStep <= Ds)
                    x[step] = rotate_lane(x[step]) / kStep;
                largest = fmaxf(largest, fabsf(x[step]));
                poison += x[step] - x[step];
            }
            largest = warp_max(largest);
            poison = warp_sum(poison);
            const float inverse = fixed_inverse(largest);
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
                const uint32_t bits = fixed_bits(x[step], inverse);
                uint8_t* bytes = reinterpret_cast<uint8_t*>(&queries[step][q][lane() / 8]);
                bytes[lane() % 8] = uint8_t(bits >> 8);
                bytes[lane() % 8 + 8] = uint8_t(bits ^ 0x80);
            }
            if (lane() == 0) units[q] = (largest + poison) * Step::kFactor;
        }
    }

    // A page's scores: score[j][i][e] is of token TwoTiles::row(i, e) by query column(j, e).
    __device__ void score_page(const AttentionArgs& a, int32_t page, int kv,
                               float (&score)[eights][2][4]) const {
        const uint4* keys = reinterpret_cast<const uint4*>(a.cache + a.layout.keys(page, kv));
        const int steps = int(a.layout.stored_dim() + kStep - 1) / kStep;
        const int dwords = int(a.layout.stored_dim() >> a.layout.interleave_bits());
        constexpr int kTogether = Step::kNibbles ? 1 : kSteps;  // that have one scale
        for (int group = 0; group < steps; group += kTogether) {
            FixedSums sums[eights][2];
#pragma unroll 2
            for (int step = group; step < group + kTogether && step < steps; ++step) {
                auto tokens = [&](int i) {
                    const int at = step * Step::kDwords + Step::first() + i;
                    return at < dwords ? keys[at * (kPageTokens / 4) + lane_row()] : uint4{};
                };
                const uint4 x = tokens(0), y = Step::kNibbles ? uint4{} : tokens(1);
                const TwoTiles tiles({Step::low(x.x, y.x), Step::low(x.y, y.y), Step::low(x.z, y.z),
                                      Step::low(x.w, y.w)},
                                     {Step::high(x.x, y.x), Step::high(x.y, y.y),
                                      Step::high(x.z, y.z), Step::high(x.w, y.w)});
#pragma unroll
                for (int j = 0; j < eights; ++j) {
                    const uint4 query = queries[step][j * kMmaColumns + lane_row()][lane_word()];
                    sums[j][0].add(tiles.a[0], query);
                    sums[j][1].add(tiles.a[1], query);
                }
            }
            float scale[4];
            load_scales<4>(a, a.layout.key_scales(page, kv), group, first_token(), scale);
#pragma unroll
            for (int j = 0; j < eights; ++j)
#pragma unroll
                for (int i = 0; i < 2; ++i)
#pragma unroll
                    for (int e = 0; e < 4; ++e)
                        score[j][i][e] =
                            fmaf(sums[j][i].number(e), scale[2 * i + e / 2], score[j][i][e]);
        }
#pragma unroll
        for (int j = 0; j < eights; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const float unit = units[column(j, e)] * a.scale;
                score[j][0][e] *= unit;
                score[j][1][e] *= unit;
            }
    }

    // Of the warp's page (null: none is seen of it): int8's times their values' scales, and the
    // largest product with a scale.
    __device__ void keep_weights(const AttentionArgs& a, const int32_t* page, int kv,
                                 const float (&weight)[eights][2][4]) {
        float scale[4] = {};
        if (page) {
            const size_t scales = a.layout.value_scales(*page, kv);
            for (int group = 0; group < (Step::kNibbles ? a.layout.panels() : 1); ++group) {
                float of_group[4];
                load_scales<4>(a, scales, group, first_token(), of_group);
#pragma unroll
                for (int i = 0; i < 4; ++i) scale[i] = fmaxf(scale[i], fabsf(of_group[i]));
            }
        }
#pragma unroll
        for (int j = 0; j < eights; ++j)
#pragma unroll
            for (int c = 0; c < 2; ++c) {
                uint32_t kept[4];
                float peak = 0;
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float w = weight[j][i / 2][c + i % 2 * 2];
                    const float product = w > 0 ? w * scale[i] : 0;
                    peak = fmaxf(peak, product);
                    kept[i] = f32_to_bits(Step::kNibbles ? w : product);
                }
                peak = column_max(peak);
                if (lane_row() == 0) peaks[warp()][column(j, c)] = peak;
                *reinterpret_cast<uint4*>(weights[warp()][column(j, c)] + first_token()) = {
                    kept[0], kept[1], kept[2], kept[3]};
            }
    }

    // Adds a chunk's weighted values to those of the lane.
    __device__ void weigh_chunk(const AttentionArgs& a, const QueryTile& tile, int64_t chunk,
                                Tokens by_some, Tokens, const Tokens*,
                                float (&value)[sixteens][eights][4]) const {
        constexpr int kSides = sixteens > 1 ? 2 : 1;
        float inverse[eights], unit[eights][2];
#pragma unroll
        for (int j = 0; j < eights; ++j) {
            inverse[j] = fixed_inverse(peak(j * kMmaColumns + lane_row()));
            for (int c = 0; c < 2; ++c) unit[j][c] = peak(column(j, c)) * Step::kFactor;
        }
#pragma unroll
        for (int t = 0; t < sixteens; t += kSides) {
            const int d = first_number<sixteens>(t);
            if (d >= a.layout.head_dim) continue;
            FixedSums sums[kSides][eights];
#pragma unroll 2
            for (int p = 0; p < kWarps; ++p) {
                // Of a page that nobody sees weights are zeros, so that any other will do.
                int64_t at = chunk / kPageTokens + p;
                if (at * kPageTokens >= by_some.end || (at + 1) * kPageTokens <= by_some.begin)
                    at = by_some.begin / kPageTokens;
                const int32_t page = tile.span->pages[at];
                uint32_t words[kSides][4];
#pragma unroll
                for (int i = 0; i < kSides; ++i)
                    load_values(a, page, tile.kv, d + i * kSixteen, words[i]);
                float scale[8] = {};
                if constexpr (Step::kNibbles) {
                    load_scales<8>(a, a.layout.value_scales(page, tile.kv), d / kStep,
                                   8 * lane_word(), scale);
                    for (float& x : scale)  // of a token that is not seen
                        if (!(fabsf(x) < INFINITY)) x = 0;
                }
#pragma unroll
                for (int j = 0; j < eights; ++j) {
                    float w[8];
                    load_floats(weights[p][j * kMmaColumns + lane_row()] + 8 * lane_word(), w);
                    const FixedWords fixed(
                        [&](int i) { return Step::kNibbles ? w[i] * scale[i] : w[i]; }, inverse[j]);
#pragma unroll
                    for (int i = 0; i < kSides; ++i) sums[i][j].add(words[i], fixed.words);
                }
            }
#pragma unroll
            for (int i = 0; i < kSides; ++i)
#pragma unroll
                for (int j = 0; j < eights; ++j)
#pragma unroll
                    for (int e = 0; e < 4; ++e)
                        value[t + i][j][e] =
                            fmaf(sums[i][j].number(e), unit[j][e % 2], value[t + i][j][e]);
        }
    }

  private:
    __device__ float peak(int q) const {
        float most = peaks[0][q];
        for (int w = 1; w < kWarps; ++w) most = fmaxf(most, peaks[w][q]);
        return most;
    }

    // The scales of n tokens of a page from `first` on; int4: of a group of d.
    template <int n>
    __device__ static void load_scales(const AttentionArgs& a, size_t scales, int group, int first,
                                       float (&to)[n]) {
        if constexpr (Step::kNibbles) {
            using Words = std::conditional_t<n == 4, uint2, uint4>;
            const auto* halves = reinterpret_cast<const uint16_t*>(a.cache + scales);
            const Words all = *reinterpret_cast<const Words*>(halves + group * kPageTokens + first);
            uint32_t words[4] = {all.x, all.y};
            if constexpr (n == 8) words[2] = all.z, words[3] = all.w;
#pragma unroll
            for (int i = 0; i < n; ++i)
                to[i] = half_to_float(uint16_t(words[i / 2] >> 16 * (i % 2)));
        } else {
            load_floats(reinterpret_cast<const float*>(a.cache + scales) + first, to);
        }
    }
    template <int n>
    __device__ static void load_floats(const float* from, float (&to)[n]) {
#pragma unroll
        for (int i = 0; i < n; i += 4) {
            const uint4 four = *reinterpret_cast<const uint4*>(from + i);
            to[i] = bits_to_f32(four.x), to[i + 1] = bits_to_f32(four.y);
            to[i + 2] = bits_to_f32(four.z), to[i + 3] = bits_to_f32(four.w);
        }
    }

    // The lane's words of the sixteen numbers from d on of a page's tokens.
    __device__ static void load_values(const AttentionArgs& a, int32_t page, int kv, int d,
                                       uint32_t (&words)[4]) {
        auto rows = [&](int token) {
            if (d >= a.layout.head_dim) return uint2{};
            const std::byte* panel = a.cache + a.layout.values(page, kv, d / int(a.layout.panel()));
            return *reinterpret_cast<const uint2*>(panel +
                                                   a.layout.value_element(token, d + sixteenth(0)));
        };
        const uint2 x = rows(8 * lane_word());
        const uint2 y = Step::kNibbles ? uint2{} : rows(8 * lane_word() + 4);
        words[0] = Step::low(x.x, y.x), words[1] = Step::low(x.y, y.y);
        words[2] = Step::high(x.x, y.x), words[3] = Step::high(x.y, y.y);
    }
};

}  // namespace genfast::cuda
