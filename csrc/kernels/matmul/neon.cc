// int8 and int4 weights with the dot product instructions: sdot multiplies four bytes of each of
// four rows by four bytes of a token, which lie in one lane of a vector, and adds the products to
// an int32, exactly.
#include "kernels/matmul/tiles.h"
#include "quant/int4.h"
#include "simd/vec.h"

namespace genfast::neon {

// Vectors of four rows that a pass over a panel takes: as many as leave MT accumulators for each in
// registers, of which there are 32.
constexpr int vectors_for(int tokens) {
    return tokens <= 3 ? 8 : tokens <= 6 ? 4 : 2;
}
constexpr int kPanelVectors = kPanelRows / 4;

GENFAST_INLINE int8x16_t load(const std::byte* p) {
    return vld1q_s8(reinterpret_cast<const int8_t*>(p));
}

// What was loaded is loaded again after this: cheaper than a few registers too few.
GENFAST_INLINE void forget_loads() {
    asm volatile("" ::: "memory");
}

// Quads of MT tokens, four a vector; none beyond the last is read.
template <int MT>
struct Quads {
    int8x16_t four[(MT + 3) / 4];

    GENFAST_MEMBER explicit Quads(const std::byte* p) {
        const int32_t* quads = reinterpret_cast<const int32_t*>(p);
        GENFAST_UNROLL
        for (int i = 0; i < MT / 4; ++i) four[i] = load(p + i * 16);
        constexpr int left = MT % 4, first = MT - left;
        int32x4_t rest = vdupq_n_s32(0);
        if constexpr (left >= 2) rest = vcombine_s32(vld1_s32(quads + first), vdup_n_s32(0));
        if constexpr (left == 1) rest = vld1q_dup_s32(quads + first);
        if constexpr (left == 3) rest = vld1q_lane_s32(quads + first + 2, rest, 2);
        if constexpr (left > 0) four[MT / 4] = vreinterpretq_s8_s32(rest);
    }
};

// Four columns of four rows, which are the v-th of the pass.
template <int MT, int VECS>
GENFAST_INLINE void dot(int8x16_t w, const Quads<MT>& x, int v, int32x4_t (&acc)[MT][VECS]) {
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) {
        int8x16_t quads = x.four[j / 4];
        int32x4_t& sum = acc[j][v];
        switch (j % 4) {  // a lane is part of the instruction
            case 0:
                sum = vdotq_laneq_s32(sum, w, quads, 0);
                break;
            case 1:
                sum = vdotq_laneq_s32(sum, w, quads, 1);
                break;
            case 2:
                sum = vdotq_laneq_s32(sum, w, quads, 2);
                break;
            case 3:
                sum = vdotq_laneq_s32(sum, w, quads, 3);
                break;
        }
    }
}

template <int MT>
__attribute__((noinline)) static void int8_tile(const std::byte* panel, const std::byte* x,
                                                int64_t K, float* c) {
    constexpr int VECS = vectors_for(MT);
    for (int first = 0; first < kPanelVectors; first += VECS) {
        const std::byte *rows = panel + first * 16, *quads = x;
        int32x4_t acc[MT][VECS];
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) {
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v) acc[j][v] = vdupq_n_s32(0);
        }
        for (int64_t k = 0; k < K; k += 4, rows += kPanelRows * 4, quads += MT * 4) {
            const Quads<MT> tokens(quads);
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v) dot<MT, VECS>(load(rows + v * 16), tokens, v, acc);
        }
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) {
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v)
                vst1q_s32(reinterpret_cast<int32_t*>(c) + j * kPanelRows + (first + v) * 4,
                          acc[j][v]);
        }
    }
}

// Nibbles are q + 8, so a group's sum starts at -8 * sum(x), which the packed activations carry.
template <int MT>
__attribute__((noinline)) static void int4_tile(const std::byte* panel, const std::byte* x,
                                                int64_t K, float* c) {
    constexpr int VECS = vectors_for(MT);
    const int8x16_t low_nibbles = vdupq_n_s8(15);
    for (int i = 0; i < MT * kPanelRows; i += kLanes) vstore(c + i, vzero());
    for (int64_t g = 0; g < K / kGroup; ++g, panel += int4::kGroupBytes) {
        for (int first = 0; first < kPanelVectors; first += VECS) {
            const std::byte *rows = panel + int4::kScaleBytes + first * 16, *quads = x + MT * 4;
            int32x4_t acc[MT][VECS];
            GENFAST_UNROLL
            for (int j = 0; j < MT; ++j) {
                GENFAST_UNROLL
                for (int v = 0; v < VECS; ++v)
                    acc[j][v] = vld1q_dup_s32(reinterpret_cast<const int32_t*>(x) + j);
            }
#pragma GCC unroll 1
            for (int s = 0; s < 4; ++s, rows += kPanelRows * 4, quads += MT * 8) {
                const Quads<MT> first_half(quads);
                GENFAST_UNROLL
                for (int v = 0; v < VECS; ++v)
                    dot<MT, VECS>(vandq_s8(load(rows + v * 16), low_nibbles), first_half, v, acc);
                forget_loads();
                const Quads<MT> second_half(quads + MT * 4);
                GENFAST_UNROLL
                for (int v = 0; v < VECS; ++v) {
                    uint8x16_t both = vreinterpretq_u8_s8(load(rows + v * 16));
                    int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
                    dot<MT, VECS>(high, second_half, v, acc);
                }
            }
            const uint16_t* scales = reinterpret_cast<const uint16_t*>(panel) + first * 4;
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v) {
                float32x4_t scale = widen_f16(vld1_u16(scales + v * 4));
                GENFAST_UNROLL
                for (int j = 0; j < MT; ++j) {
                    float* total = c + j * kPanelRows + (first + v) * 4;
                    float32x4_t sum = vcvtq_f32_s32(acc[j][v]);
                    vst1q_f32(total, vfmaq_f32(vld1q_f32(total), sum, scale));
                }
            }
        }
        x += MT * (kGroup + 4);
    }
}

const Tiles int8_tiles = {"int8_dotprod", Layout::s8_quads, 12, {GENFAST_TILES_12(int8_tile)}, {}};
const Tiles int4_tiles = {"int4_dotprod", Layout::s8_groups, 12, {GENFAST_TILES_12(int4_tile)}, {}};

}  // namespace genfast::neon
