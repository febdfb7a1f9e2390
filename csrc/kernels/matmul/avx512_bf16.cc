// bf16 weights with vdpbf16ps: a pair of bf16 products added to each float accumulator; fp8's once
// they are bf16. Chosen at run time where the CPU has it.
#include "kernels/matmul/expand_fp8.h"
#include "simd/vec.h"

namespace genfast::avx512 {

// A dword is a pair of bf16; moved about as a float, it keeps its bits.
GENFAST_INLINE Vec pairs(const std::byte* p) {
    return vload(reinterpret_cast<const float*>(p));
}

template <bool resume, int MT>
__attribute__((noinline)) static void dot_tile(const std::byte* panel, const std::byte* x,
                                               int64_t K, float* c) {
    Vec acc[MT][2];
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) GENFAST_UNROLL
    for (int v = 0; v < 2; ++v)
        acc[j][v] = resume ? vload(c + j * kPanelRows + v * kLanes) : vzero();
    const float* xs = reinterpret_cast<const float*>(x);
    for (int64_t k = 0; k < K / 2; ++k, panel += 128, xs += MT) {
        Vec w0 = pairs(panel), w1 = pairs(panel + 64);
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) {
            Vec xj = vset(xs[j]);
            vdot_bf16(acc[j][0], xj, w0);
            vdot_bf16(acc[j][1], xj, w1);
        }
    }
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) GENFAST_UNROLL
    for (int v = 0; v < 2; ++v) vstore(c + j * kPanelRows + v * kLanes, acc[j][v]);
}

template <int MT>
constexpr Tile dot_first = dot_tile<false, MT>;
template <int MT>
constexpr Tile dot_resume = dot_tile<true, MT>;

const Tiles bf16_dot_tiles = {.variant = "bf16_dot",
                              .layout = Layout::bf16_pairs,
                              .max_tokens = 12,
                              .tile = {GENFAST_TILES_12(dot_first)},
                              .resume = {GENFAST_TILES_12(dot_resume)},
                              .near_columns = 2048};
const Tiles fp8_dot_tiles = {.variant = "fp8_dot",
                             .layout = Layout::bf16_pairs,
                             .max_tokens = 12,
                             .tile = {},
                             .near_columns = kMostExpandedPairs,
                             .expand = expand_fp8,
                             .expanded = &bf16_dot_tiles};

}  // namespace genfast::avx512
