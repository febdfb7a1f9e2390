// bf16 weights with vdpbf16ps: a pair of bf16 products added to each float accumulator, so x is
// rounded to bf16 first. Chosen at run time where the CPU has it.
#include "kernels/matmul/tiles.h"
#include "simd/vec.h"

namespace genfast::avx512 {

template <bool resume, int MT>
__attribute__((noinline)) static void dot_tile(const std::byte* panel, const std::byte* x,
                                               int64_t K, float* c) {
    __m512 acc[MT][2];
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) GENFAST_UNROLL
    for (int v = 0; v < 2; ++v)
        acc[j][v] = resume ? _mm512_loadu_ps(c + j * kPanelRows + v * kLanes) : _mm512_setzero_ps();
    for (int64_t k = 0; k < K / 2; ++k) {
        __m512bh w0 = (__m512bh)_mm512_loadu_si512(panel + k * 128);
        __m512bh w1 = (__m512bh)_mm512_loadu_si512(panel + k * 128 + 64);
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) {
            int32_t pair;
            __builtin_memcpy(&pair, x + (k * MT + j) * 4, 4);
            __m512bh xj = (__m512bh)_mm512_set1_epi32(pair);
            acc[j][0] = _mm512_dpbf16_ps(acc[j][0], xj, w0);
            acc[j][1] = _mm512_dpbf16_ps(acc[j][1], xj, w1);
        }
    }
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) GENFAST_UNROLL
    for (int v = 0; v < 2; ++v) _mm512_storeu_ps(c + j * kPanelRows + v * kLanes, acc[j][v]);
}

template <int MT>
constexpr Tile dot_first = dot_tile<false, MT>;
template <int MT>
constexpr Tile dot_resume = dot_tile<true, MT>;

const Tiles bf16_dot_tiles = {"bf16_dot",
                              Layout::bf16_pairs,
                              12,
                              {GENFAST_TILES_12(dot_first)},
                              {GENFAST_TILES_12(dot_resume)}};

}  // namespace genfast::avx512
