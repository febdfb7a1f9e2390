// f32, f16, bf16 and fp8 weights, computed in float: acc = fma(x[k], w[k], acc), k ascending; bf16
// and fp8 take the second of each pair of k first, as vdpbf16ps does.
#include "kernels/matmul/tiles.h"
#include "simd/e4m3.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

#if defined(__AVX512F__)
constexpr int kTokens = 12;  // x 2 Vec = 24 of 32 registers
constexpr int vecs_for(int) {
    return 2;
}
#define GENFAST_DENSE_TILES(t) GENFAST_TILES_12(t)
constexpr int64_t kNearColumns = 1024, kNearPanels = 1;  // 128 KB of a panel: a part of L2
constexpr bool kExpand = false;
#else
constexpr int kTokens = 6;  // x 1 Vec (half a panel a pass) = 12 of 16 registers, NEON 24 of 32
constexpr int vecs_for(int tokens) {
    return tokens <= 2 ? 2 : 1;
}
#define GENFAST_DENSE_TILES(t) GENFAST_TILES_6(t)
constexpr int64_t kNearColumns = kMostExpanded, kNearPanels = 8;
constexpr bool kExpand = true;
#endif

// One column of VECS x 16 rows for MT tokens.
template <int MT, int VECS>
GENFAST_INLINE void step(const Vec (&w)[VECS], const float* x, Vec (&acc)[MT][VECS]) {
    GENFAST_UNROLL
    for (int j = 0; j < MT; ++j) {
        Vec xj = vset(x[j]);
        GENFAST_UNROLL
        for (int v = 0; v < VECS; ++v) acc[j][v] = vfma(xj, w[v], acc[j][v]);
    }
}

// Column i of four.
template <int i, int MT, int VECS>
GENFAST_INLINE void e4m3_column(const std::byte* quads, const float* x, Vec (&acc)[MT][VECS]) {
    Vec w[VECS];
    GENFAST_UNROLL
    for (int v = 0; v < VECS; ++v) w[v] = vload_e4m3<i>(quads + v * 64);
    step<MT, VECS>(w, x, acc);
    if constexpr (kTokens < 12) asm volatile("" ::: "memory");  // as for the pairs of bf16
}

// A column (f32, f16), a pair of them (bf16) or four (fp8).
template <Format format, int MT, int VECS>
GENFAST_INLINE void columns(const std::byte* panel, const float* x, Vec (&acc)[MT][VECS]) {
    Vec w[VECS], second[VECS];
    if constexpr (format == Format::bf16) {
        const uint16_t* pairs = reinterpret_cast<const uint16_t*>(panel);
        GENFAST_UNROLL
        for (int v = 0; v < VECS; ++v) vload_bf16_pairs(pairs + v * 32, w[v], second[v]);
        step<MT, VECS>(second, x, acc);
        // With sixteen registers it is cheaper to load the pairs again than to keep them.
        if constexpr (kTokens < 12) asm volatile("" ::: "memory");
        GENFAST_UNROLL
        for (int v = 0; v < VECS; ++v) vload_bf16_pairs(pairs + v * 32, w[v], second[v]);
        step<MT, VECS>(w, x + MT, acc);
    } else if constexpr (format == Format::fp8) {
        e4m3_column<1, MT, VECS>(panel, x, acc);
        e4m3_column<0, MT, VECS>(panel, x + MT, acc);
        e4m3_column<3, MT, VECS>(panel, x + 2 * MT, acc);
        e4m3_column<2, MT, VECS>(panel, x + 3 * MT, acc);
    } else {
        GENFAST_UNROLL
        for (int v = 0; v < VECS; ++v)
            w[v] = format == Format::f32
                       ? vload(reinterpret_cast<const float*>(panel) + v * kLanes)
                       : vload_f16(reinterpret_cast<const uint16_t*>(panel) + v * kLanes);
        step<MT, VECS>(w, x, acc);
    }
}

template <Format format, bool resume, int MT>
__attribute__((noinline)) static void dense_tile(const std::byte* panel, const std::byte* x_bytes,
                                                 int64_t K, float* c) {
    constexpr int VECS = vecs_for(MT);
    constexpr int unit = format == Format::bf16 ? 2 : format == Format::fp8 ? 4 : 1;  // a step
    constexpr int lane_bytes = format == Format::f16 ? 2 : 4;  // a row's part of a step
    for (int part = 0; part < 2; part += VECS) {
        const std::byte* w = panel + part * kLanes * lane_bytes;
        const float* x = reinterpret_cast<const float*>(x_bytes);
        float* out = c + part * kLanes;
        Vec acc[MT][VECS];
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) {
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v)
                acc[j][v] = resume ? vload(out + j * kPanelRows + v * kLanes) : vzero();
        }
        for (int64_t k = 0; k < K; k += unit, w += kPanelRows * lane_bytes, x += unit * MT)
            columns<format, MT, VECS>(w, x, acc);
        GENFAST_UNROLL
        for (int j = 0; j < MT; ++j) {
            GENFAST_UNROLL
            for (int v = 0; v < VECS; ++v) vstore(out + j * kPanelRows + v * kLanes, acc[j][v]);
        }
    }
}

template <Format format>
static void expand_columns(const std::byte* panel, int64_t K, float* out) {
    const uint16_t* from = reinterpret_cast<const uint16_t*>(panel);
    if constexpr (format == Format::fp8) {
        for (int64_t k = 0; k < K; k += 4, panel += 4 * kPanelRows, out += 4 * kPanelRows)
            for (int v = 0; v < 2; ++v) {
                vstore(out + v * kLanes, vload_e4m3<1>(panel + v * 64));
                vstore(out + kPanelRows + v * kLanes, vload_e4m3<0>(panel + v * 64));
                vstore(out + 2 * kPanelRows + v * kLanes, vload_e4m3<3>(panel + v * 64));
                vstore(out + 3 * kPanelRows + v * kLanes, vload_e4m3<2>(panel + v * 64));
            }
    } else if constexpr (format == Format::bf16) {
        for (int64_t k = 0; k < K; k += 2, from += 2 * kPanelRows, out += 2 * kPanelRows)
            for (int v = 0; v < 2; ++v) {
                Vec first, second;
                vload_bf16_pairs(from + v * 32, first, second);
                vstore(out + v * kLanes, second);
                vstore(out + kPanelRows + v * kLanes, first);
            }
    } else {
        for (int64_t i = 0; i < K * kPanelRows; i += kLanes) vstore(out + i, vload_f16(from + i));
    }
}

template <int MT>
constexpr Tile f32_first = dense_tile<Format::f32, false, MT>;
template <int MT>
constexpr Tile f32_resume = dense_tile<Format::f32, true, MT>;
template <int MT>
constexpr Tile f16_first = dense_tile<Format::f16, false, MT>;
template <int MT>
constexpr Tile f16_resume = dense_tile<Format::f16, true, MT>;
template <int MT>
constexpr Tile bf16_first = dense_tile<Format::bf16, false, MT>;
template <int MT>
constexpr Tile bf16_resume = dense_tile<Format::bf16, true, MT>;
template <int MT>
constexpr Tile fp8_first = dense_tile<Format::fp8, false, MT>;

const Tiles f32_tiles = {.variant = "f32",
                         .layout = Layout::f32,
                         .max_tokens = kTokens,
                         .tile = {GENFAST_DENSE_TILES(f32_first)},
                         .resume = {GENFAST_DENSE_TILES(f32_resume)},
                         .near_columns = kNearColumns,
                         .near_panels = kNearPanels};
const Tiles f16_tiles = {.variant = "f16",
                         .layout = Layout::f32,
                         .max_tokens = kTokens,
                         .tile = {GENFAST_DENSE_TILES(f16_first)},
                         .resume = {GENFAST_DENSE_TILES(f16_resume)},
                         .near_columns = kNearColumns,
                         .near_panels = kNearPanels,
                         .expand = kExpand ? expand_columns<Format::f16> : nullptr,
                         .expanded = &f32_tiles};
const Tiles bf16_tiles = {.variant = "bf16",
                          .layout = Layout::bf16_floats,
                          .max_tokens = kTokens,
                          .tile = {GENFAST_DENSE_TILES(bf16_first)},
                          .resume = {GENFAST_DENSE_TILES(bf16_resume)},
                          .near_columns = kNearColumns,
                          .near_panels = kNearPanels,
                          .expand = kExpand ? expand_columns<Format::bf16> : nullptr,
                          .expanded = &f32_tiles};
// Several tiles have their columns expanded on every instruction set: that takes as long as a
// token's products.
const Tiles fp8_tiles = {.variant = "fp8",
                         .layout = Layout::bf16_floats,
                         .max_tokens = kTokens,
                         .tile = {GENFAST_DENSE_TILES(fp8_first)},
                         .near_columns = kMostExpanded,
                         .near_panels = 8,
                         .expand = expand_columns<Format::fp8>,
                         .expanded = &f32_tiles};

}  // namespace genfast::GENFAST_ISA
