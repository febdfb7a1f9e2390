// int8 and int4 weights with AVX-512 VNNI: vpdpbusd multiplies four unsigned by four signed bytes
// and adds the products to an int32, exactly.
#include "kernels/matmul/ahead.h"
#include "kernels/matmul/tiles.h"
#include "quant/int4.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

GENFAST_INLINE __m512i load(const void* p) {
    return _mm512_loadu_si512(p);
}
GENFAST_INLINE __m512i broadcast(const std::byte* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return _mm512_set1_epi32(quad);
}
// Not the intrinsic: g++ 12 gives its result a new register, and with 24 accumulators live copies
// every one through the stack.
GENFAST_INLINE void dot(__m512i& acc, __m512i u8, __m512i s8) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "v"(s8));
}

// Four columns of 32 rows for MT tokens.
template <int MT>
GENFAST_INLINE void int8_step(const std::byte* w, const std::byte* x, __m512i (&acc)[MT][2]) {
    __m512i w0 = load(w), w1 = load(w + 64);
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) {
        __m512i xj = broadcast(x + j * 4);
        dot(acc[j][0], xj, w0);
        dot(acc[j][1], xj, w1);
    }
}

// Activations are u8 = q + 128: 128 * sum(w) is taken off the sums at the end (simd.cc).
// Few tokens leave the multiplier waiting for its own results; then there are CHAINS accumulators
// to a sum, which integers allow.
template <bool resume, int MT>
__attribute__((noinline)) static void int8_tile(const std::byte* panel, const std::byte* x,
                                                int64_t K, float* c) {
    constexpr int CHAINS = MT == 1 ? 4 : MT == 2 ? 2 : 1;
    __m512i acc[CHAINS][MT][2];
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) {
        GENFAST_UNROLL
        for (int v = 0; v < 2; ++v) {
            acc[0][j][v] = resume ? load(c + j * kPanelRows + v * kLanes) : _mm512_setzero_si512();
            GENFAST_UNROLL
            for (int i = 1; i < CHAINS; ++i) acc[i][j][v] = _mm512_setzero_si512();
        }
    }
    const std::byte* end = panel + K * kPanelRows;
    for (; panel + CHAINS * 128 <= end; panel += CHAINS * 128, x += CHAINS * MT * 4) {
        GENFAST_UNROLL
        for (int i = 0; i < CHAINS; ++i) int8_step<MT>(panel + i * 128, x + i * MT * 4, acc[i]);
    }
    if constexpr (CHAINS > 1)
        for (; panel < end; panel += 128, x += MT * 4) int8_step<MT>(panel, x, acc[0]);
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) {
        GENFAST_UNROLL
        for (int v = 0; v < 2; ++v) {
            GENFAST_UNROLL
            for (int i = 1; i < CHAINS; ++i)
                acc[0][j][v] = _mm512_add_epi32(acc[0][j][v], acc[i][j][v]);
            istore(c + j * kPanelRows + v * kLanes, {acc[0][j][v]});
        }
    }
}

// Nibbles (q + 8) are the unsigned operand, so a group's sum starts at -8 * sum(x), which the
// packed activations carry.
template <int MT>
__attribute__((noinline)) static void int4_tile(const std::byte* panel, const std::byte* x,
                                                int64_t K, float* c) {
    const __m512i low_nibbles = _mm512_set1_epi8(15);
    Vec total[MT][2];
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) total[j][0] = total[j][1] = vzero();
    for (int64_t g = 0; g < K / kGroup; ++g) {
        ask_ahead<MT>(panel);
        __m512i acc[MT][2];
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) acc[j][0] = acc[j][1] = broadcast(x + j * 4);
        x += MT * 4;
        GENFAST_UNROLL
        for (int s = 0; s < 4; ++s, x += MT * 8) {
            const std::byte* w = panel + int4::kScaleBytes + s * 128;
            __m512i low0 = _mm512_and_si512(load(w), low_nibbles);
            __m512i low1 = _mm512_and_si512(load(w + 64), low_nibbles);
            GENFAST_UNROLL
            for (int j = 0; j < MT; ++j) {
                __m512i xj = broadcast(x + j * 4);
                dot(acc[j][0], low0, xj);
                dot(acc[j][1], low1, xj);
            }
            __m512i high0 = _mm512_and_si512(_mm512_srli_epi16(load(w), 4), low_nibbles);
            __m512i high1 = _mm512_and_si512(_mm512_srli_epi16(load(w + 64), 4), low_nibbles);
            GENFAST_UNROLL
            for (int j = 0; j < MT; ++j) {
                __m512i xj = broadcast(x + (MT + j) * 4);
                dot(acc[j][0], high0, xj);
                dot(acc[j][1], high1, xj);
            }
        }
        const uint16_t* scales = reinterpret_cast<const uint16_t*>(panel);
        Vec scale0 = vload_f16(scales), scale1 = vload_f16(scales + kLanes);
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) {
            total[j][0] = vfma(vfromi({acc[j][0]}), scale0, total[j][0]);
            total[j][1] = vfma(vfromi({acc[j][1]}), scale1, total[j][1]);
        }
        panel += int4::kGroupBytes;
    }
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) {
        vstore(c + j * kPanelRows, total[j][0]);
        vstore(c + j * kPanelRows + kLanes, total[j][1]);
    }
}

template <int MT>
constexpr Tile int8_first = int8_tile<false, MT>;
template <int MT>
constexpr Tile int8_resume = int8_tile<true, MT>;

const Tiles int8_tiles = {.variant = "int8_vnni",
                          .layout = Layout::u8_quads,
                          .max_tokens = 12,
                          .tile = {GENFAST_TILES_12(int8_first)},
                          .resume = {GENFAST_TILES_12(int8_resume)},
                          .near_columns = 1024};
const Tiles int4_tiles = {"int4_vnni", Layout::s8_groups, 6, {GENFAST_TILES_6(int4_tile)}, {}};

}  // namespace genfast::GENFAST_ISA
