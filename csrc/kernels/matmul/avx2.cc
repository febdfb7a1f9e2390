// int8 and int4 weights with AVX2. vpmaddubsw saturates its 16-bit sums, so int8 goes through
// 16-bit products instead; with int4's small weights a whole group fits 16 bits. Both sums are
// exact, so the results are the same bits as AVX-512's.
#include "kernels/matmul/ahead.h"
#include "kernels/matmul/tiles.h"
#include "quant/int4.h"
#include "quant/int8.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

GENFAST_INLINE __m256i load(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
GENFAST_INLINE __m256i broadcast(const std::byte* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return _mm256_set1_epi32(quad);
}
// Additions by name: g++ 12 regroups integer sums, and then keeps every product of a step alive in
// registers that it does not have.
GENFAST_INLINE void add32(__m256i& acc, __m256i products) {
    asm("vpaddd %1, %0, %0" : "+x"(acc) : "x"(products));
}
GENFAST_INLINE void add16(__m256i& acc, __m256i products) {
    asm("vpaddw %1, %0, %0" : "+x"(acc) : "x"(products));
}
// What was loaded is loaded again after this: cheaper than sixteen registers too few.
GENFAST_INLINE void forget_loads() {
    asm volatile("" ::: "memory");
}

// Sixteen rows (two registers) a pass; of each four columns first 0 and 2, then 1 and 3.
template <bool resume, int MT>
__attribute__((noinline)) static void int8_tile(const std::byte* panel, const std::byte* x,
                                                int64_t K, float* c) {
    for (int half = 0; half < 2; ++half) {
        const std::byte* w = panel + half * 64;
        const std::byte* quads = x;
        float* sums = c + half * kLanes;
        __m256i acc[MT][2];
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) {
            acc[j][0] = resume ? load(sums + j * kPanelRows) : _mm256_setzero_si256();
            acc[j][1] = resume ? load(sums + j * kPanelRows + 8) : _mm256_setzero_si256();
        }
        for (int64_t k = 0; k < K; k += 4, w += 128, quads += MT * 8) {
            __m256i even0 = _mm256_srai_epi16(_mm256_slli_epi16(load(w), 8), 8);
            __m256i even1 = _mm256_srai_epi16(_mm256_slli_epi16(load(w + 32), 8), 8);
            GENFAST_UNROLL
            for (int j = 0; j < MT; ++j) {
                __m256i xj = broadcast(quads + j * 8);
                add32(acc[j][0], _mm256_madd_epi16(even0, xj));
                add32(acc[j][1], _mm256_madd_epi16(even1, xj));
            }
            forget_loads();
            __m256i odd0 = _mm256_srai_epi16(load(w), 8);
            __m256i odd1 = _mm256_srai_epi16(load(w + 32), 8);
            GENFAST_UNROLL
            for (int j = 0; j < MT; ++j) {
                __m256i xj = broadcast(quads + j * 8 + 4);
                add32(acc[j][0], _mm256_madd_epi16(odd0, xj));
                add32(acc[j][1], _mm256_madd_epi16(odd1, xj));
            }
        }
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) istore(sums + j * kPanelRows, {acc[j][0], acc[j][1]});
    }
}

// |sum over a group of nibble * x| in one 16-bit lane: 8 pairs * 2 * 15 * 127 = 30480 < 32768.
template <int MT>
GENFAST_INLINE void int4_step(__m256i rows0, __m256i rows1, const std::byte* x,
                              __m256i (&acc)[MT][2]) {
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) {
        __m256i xj = broadcast(x + j * 4);
        add16(acc[j][0], _mm256_maddubs_epi16(rows0, xj));
        add16(acc[j][1], _mm256_maddubs_epi16(rows1, xj));
    }
}

template <int MT>
__attribute__((noinline)) static void int4_tile(const std::byte* panel, const std::byte* x,
                                                int64_t K, float* c) {
    const __m256i low_nibbles = _mm256_set1_epi8(15);
    for (int i = 0; i < MT * kPanelRows; i += kLanes) vstore(c + i, vzero());
    for (int64_t g = 0; g < K / kGroup; ++g, panel += int4::kGroupBytes) {
        ask_ahead<MT>(panel);
        for (int half = 0; half < 2; ++half) {
            const std::byte* w = panel + int4::kScaleBytes + half * 64;
            const std::byte* quads = x + MT * 4;
            __m256i acc[MT][2];
            GENFAST_UNROLL
            for (int j = 0; j < MT; ++j) acc[j][0] = acc[j][1] = _mm256_setzero_si256();
#pragma GCC unroll 1
            for (int s = 0; s < 4; ++s, w += 128, quads += MT * 8) {
                int4_step<MT>(_mm256_and_si256(load(w), low_nibbles),
                              _mm256_and_si256(load(w + 32), low_nibbles), quads, acc);
                forget_loads();
                int4_step<MT>(_mm256_and_si256(_mm256_srli_epi16(load(w), 4), low_nibbles),
                              _mm256_and_si256(_mm256_srli_epi16(load(w + 32), 4), low_nibbles),
                              quads + MT * 4, acc);
            }
            const __m256i ones = _mm256_set1_epi16(1);
            Vec scale = vload_f16(reinterpret_cast<const uint16_t*>(panel) + half * kLanes);
            GENFAST_UNROLL
            for (int j = 0; j < MT; ++j) {
                const __m256i start = broadcast(x + j * 4);  // -8 * sum(x): nibbles are q + 8
                float* total = c + j * kPanelRows + half * kLanes;
                Vec sum = vfromi({_mm256_add_epi32(start, _mm256_madd_epi16(acc[j][0], ones)),
                                  _mm256_add_epi32(start, _mm256_madd_epi16(acc[j][1], ones))});
                vstore(total, vfma(sum, scale, vload(total)));
            }
        }
        x += MT * (kGroup + 4);
    }
}

template <int MT>
constexpr Tile int8_first = int8_tile<false, MT>;
template <int MT>
constexpr Tile int8_resume = int8_tile<true, MT>;

const Tiles int8_tiles = {.variant = "int8_madd",
                          .layout = Layout::s16_pairs,
                          .max_tokens = 6,
                          .tile = {GENFAST_TILES_6(int8_first)},
                          .resume = {GENFAST_TILES_6(int8_resume)},
                          .near_columns = 256,
                          .near_panels = 8};
const Tiles int4_tiles = {"int4_maddubs", Layout::s8_groups, 6, {GENFAST_TILES_6(int4_tile)}, {}};

}  // namespace genfast::GENFAST_ISA
