// int8 and int4 weights with smmla: two tokens by two rows, eight bytes each, products added to a
// square of four int32, exactly. Twice sdot's work. Chosen at run time where the CPU has it.
#include "kernels/matmul/tiles.h"
#include "quant/int4.h"
#include "simd/vec.h"

namespace genfast::neon {

// Vectors of four rows that a pass over a panel takes; each needs two accumulators a pair of
// tokens.
constexpr int vectors_for(int pairs) {
    return pairs == 1 ? 8 : pairs <= 3 ? 4 : 2;
}
constexpr int kPanelVectors = kPanelRows / 4;

// Sums of a pair of tokens and four rows: rows 0 and 1 of the first token, then of the second; rows
// 2 and 3 likewise.
struct Square {
    int32x4_t low, high;
};

// Four rows' k 0 to 3 and 4 to 7, quads of a row in a lane: rows 0 and 1, rows 2 and 3.
struct RowPairs {
    int8x16_t low, high;
};
GENFAST_INLINE RowPairs row_pairs(uint8x16_t first, uint8x16_t second) {
    uint32x4_t a = vreinterpretq_u32_u8(first), b = vreinterpretq_u32_u8(second);
    return {vreinterpretq_s8_u32(vzip1q_u32(a, b)), vreinterpretq_s8_u32(vzip2q_u32(a, b))};
}

GENFAST_INLINE uint8x16_t load(const std::byte* p) {
    return vld1q_u8(reinterpret_cast<const uint8_t*>(p));
}

// Eight columns of four rows, which are the v-th of the pass.
template <int PAIRS, int VECS>
GENFAST_INLINE void multiply(RowPairs w, const std::byte* x, int v, Square (&acc)[PAIRS][VECS]) {
    GENFAST_UNROLL
    for (int p = 0; p < PAIRS; ++p) {
        int8x16_t tokens = vreinterpretq_s8_u8(load(x + p * 16));
        acc[p][v].low = vmmlaq_s32(acc[p][v].low, tokens, w.low);
        acc[p][v].high = vmmlaq_s32(acc[p][v].high, tokens, w.high);
    }
    // Six pairs of tokens are loaded again for the next rows: they leave no registers to keep them.
    if constexpr (PAIRS == 6) asm volatile("" ::: "memory");
}

// One token's sums of four rows.
GENFAST_INLINE int32x4_t sums(const Square& square, bool second) {
    int64x2_t low = vreinterpretq_s64_s32(square.low), high = vreinterpretq_s64_s32(square.high);
    return vreinterpretq_s32_s64(second ? vzip2q_s64(low, high) : vzip1q_s64(low, high));
}

template <int MT>
__attribute__((noinline)) static void int8_tile(const std::byte* panel, const std::byte* x,
                                                int64_t K, float* c) {
    constexpr int PAIRS = (MT + 1) / 2, VECS = vectors_for(PAIRS);
    constexpr int64_t step = kPanelRows * 4;  // bytes of four columns
    for (int first = 0; first < kPanelVectors; first += VECS) {
        const std::byte *rows = panel + first * 16, *tokens = x;
        Square acc[PAIRS][VECS];
        GENFAST_UNROLL
        for (int p = 0; p < PAIRS; ++p) {
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v) acc[p][v] = {vdupq_n_s32(0), vdupq_n_s32(0)};
        }
        int64_t k = 0;
        for (; k + 8 <= K; k += 8, rows += 2 * step, tokens += PAIRS * 16) {
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v) {
                RowPairs w = row_pairs(load(rows + v * 16), load(rows + v * 16 + step));
                multiply<PAIRS, VECS>(w, tokens, v, acc);
            }
        }
        if (k < K) {
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v) {
                RowPairs w = row_pairs(load(rows + v * 16), vdupq_n_u8(0));
                multiply<PAIRS, VECS>(w, tokens, v, acc);
            }
        }
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) {
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v)
                vst1q_s32(reinterpret_cast<int32_t*>(c) + j * kPanelRows + (first + v) * 4,
                          sums(acc[j / 2][v], j % 2));
        }
    }
}

// Nibbles are q + 8, so a group's sum starts at -8 * sum(x), which the packed activations carry. A
// byte's low nibbles are a row's k 0 to 3 of eight, the high ones 4 to 7: as row_pairs takes them.
template <int MT>
__attribute__((noinline)) static void int4_tile(const std::byte* panel, const std::byte* x,
                                                int64_t K, float* c) {
    constexpr int PAIRS = (MT + 1) / 2, VECS = vectors_for(PAIRS);
    const uint8x16_t low_nibbles = vdupq_n_u8(15);
    for (int i = 0; i < MT * kPanelRows; i += kLanes) vstore(c + i, vzero());
    for (int64_t g = 0; g < K / kGroup; ++g, panel += int4::kGroupBytes) {
        const int32_t* starts = reinterpret_cast<const int32_t*>(x);
        for (int first = 0; first < kPanelVectors; first += VECS) {
            const std::byte* rows = panel + int4::kScaleBytes + first * 16;
            const std::byte* tokens = x + PAIRS * 8;
            Square acc[PAIRS][VECS];
            GENFAST_UNROLL
            for (int p = 0; p < PAIRS; ++p) {
                int32x2_t pair = vld1_s32(starts + p * 2);
                int32x4_t start = vcombine_s32(vdup_lane_s32(pair, 0), vdup_lane_s32(pair, 1));
                GENFAST_UNROLL
                for (int v = 0; v < VECS; ++v) acc[p][v] = {start, start};
            }
#pragma GCC unroll 1
            for (int s = 0; s < 4; ++s, rows += kPanelRows * 4, tokens += PAIRS * 16) {
                GENFAST_UNROLL
                for (int v = 0; v < VECS; ++v) {
                    uint8x16_t both = load(rows + v * 16);
                    RowPairs w = row_pairs(vandq_u8(both, low_nibbles), vshrq_n_u8(both, 4));
                    multiply<PAIRS, VECS>(w, tokens, v, acc);
                }
            }
            const uint16_t* scales = reinterpret_cast<const uint16_t*>(panel) + first * 4;
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v) {
                float32x4_t scale = widen_f16(vld1_u16(scales + v * 4));
                GENFAST_UNROLL
                for (int j = 0; j < MT; ++j) {
                    float* total = c + j * kPanelRows + (first + v) * 4;
                    float32x4_t sum = vcvtq_f32_s32(sums(acc[j / 2][v], j % 2));
                    vst1q_f32(total, vfmaq_f32(vld1q_f32(total), sum, scale));
                }
            }
        }
        x += PAIRS * 2 * (kGroup + 4);
    }
}

const Tiles int8_mm_tiles = {"int8_i8mm", Layout::s8_pairs, 12, {GENFAST_TILES_12(int8_tile)}, {}};
const Tiles int4_mm_tiles = {
    "int4_i8mm", Layout::s8_pair_groups, 12, {GENFAST_TILES_12(int4_tile)}, {}};

}  // namespace genfast::neon
