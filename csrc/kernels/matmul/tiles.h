// The microkernels: one panel (32 outputs) against a tile of tokens, all of K, accumulators in
// registers.
//
// A tile's activations are packed so that the kernel reads them front to back (MT tokens a tile):
//   f32         [K][MT] f32
//   bf16_floats [K][MT] f32, rounded to bf16, k = 1, 0, 3, 2 ...: as they are added up
//   bf16_pairs  [K/2][MT][2] bf16
//   bf16_rows   [K/32][MT][32] bf16: rows of AMX tiles, the last ones filled up with zeros
//   u8_quads    [K/4][MT][4] u8, 128 + q
//   s16_pairs   [K/4][MT][2][2] s16: k = 0 and 2, then k = 1 and 3 of each four
//   s8_rows     [K/64][MT][64] s8: as bf16_rows
//   s8_groups   per 32 k: [MT] s32 holding -8 * sum(q), then [8][MT][4] s8
//   s8_quads    [K/4][MT][4] s8
//   s8_pairs    [K/8][MT/2][2][8] s8: of two tokens eight k each
//   s8_pair_groups  per 32 k: [MT] s32 holding -8 * sum(q), then [4][MT/2][2][8] s8
// In pairs, K is rounded up to eights (with zeros) and MT to twos (with anything).
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

// For loops over a tile's registers: unrolled early, or g++ 12 keeps the accumulators in memory.
#define GENFAST_UNROLL _Pragma("GCC unroll 16")

namespace genfast::GENFAST_ISA {

enum class Layout : uint8_t {
    f32,
    bf16_floats,
    bf16_pairs,
    bf16_rows,
    u8_quads,
    s16_pairs,
    s8_rows,
    s8_groups,
    s8_quads,
    s8_pairs,
    s8_pair_groups
};
constexpr int kTileRowBytes = 64;  // bf16_rows and s8_rows: k of one token

static inline bool is_quantised(Layout layout) {
    return layout >= Layout::u8_quads;
}

// c [MT][32] = the sums over K columns of the panel, int32 for int8, starting from c itself when
// `resume`.
// K counts columns as stored (padded_k).
using Tile = void (*)(const std::byte* panel, const std::byte* x, int64_t K, float* c);

constexpr int kMaxTokens = 32;
// Columns that are expanded at a time: as floats, or as bf16, they take 32 KB.
constexpr int64_t kMostExpanded = 256, kMostExpandedPairs = 512;

struct Tiles {
    const char* variant;
    Layout layout;
    int max_tokens;                    // the largest MT that stays in registers
    Tile tile[kMaxTokens + 1];         // by MT
    Tile resume[kMaxTokens + 1] = {};  // K in blocks
    // K is cut into blocks: of so many of a panel's columns that they stay near while all tiles of
    // a block of tokens pass by (0: it is not cut). So many panels take their turns at such a block
    // of activations that it is worth its way from the next cache.
    int64_t near_columns = 0, near_panels = 1;
    // out [K][32]: the columns as floats in the order of the packed activations, or as the panel of
    // another format. Several tiles use it instead of converting them each, and are the tiles of
    // `expanded` then; so is a single one where the format has none.
    void (*expand)(const std::byte* panel, int64_t K, float* out) = nullptr;
    const Tiles* expanded = nullptr;
    // AMX: every thread configures its tile registers for tiles of MT tokens, and releases them.
    void (*begin)(int MT) = nullptr;
    void (*end)() = nullptr;
};

static inline bool expands(const Tiles& kernels, int64_t tiles) {
    return kernels.expand && (tiles > 1 || !kernels.tile[1]);
}

extern const Tiles f32_tiles, f16_tiles, bf16_tiles, fp8_tiles;  // simd_dense.cc
extern const Tiles int8_tiles, int4_tiles;                       // avx2.cc, avx512.cc, neon.cc
extern const Tiles bf16_dot_tiles, fp8_dot_tiles;  // avx512_bf16.cc, where the CPU has it
extern const Tiles int8_amx_tiles, bf16_amx_tiles, fp8_amx_tiles;  // amx.cc
extern const Tiles int8_mm_tiles, int4_mm_tiles;  // neon_i8mm.cc, where the CPU has it

// Those that multiply M tokens by a matrix in `format` (simd.cc).
const Tiles& tiles_for(Format format, int64_t M);

// Activations of one tile, in bytes.
static inline size_t tile_bytes(Layout layout, int64_t K, int MT) {
    switch (layout) {
        case Layout::f32:
        case Layout::bf16_floats:
            return size_t(K) * 4 * size_t(MT);
        case Layout::bf16_pairs:
        case Layout::s16_pairs:
            return size_t(K) * 2 * size_t(MT);
        case Layout::bf16_rows:
            return size_t(round_up(K * 2, kTileRowBytes)) * size_t(MT);
        case Layout::s8_rows:
            return size_t(round_up(K, kTileRowBytes)) * size_t(MT);
        case Layout::u8_quads:
        case Layout::s8_quads:
            return size_t(K) * size_t(MT);
        case Layout::s8_groups:
            return size_t(K / kGroup) * (kGroup + 4) * size_t(MT);
        case Layout::s8_pairs:
            return size_t(round_up(K, 8)) * size_t(round_up(MT, 2));
        case Layout::s8_pair_groups:
            return size_t(K / kGroup) * (kGroup + 4) * size_t(round_up(MT, 2));
    }
    return 0;
}

}  // namespace genfast::GENFAST_ISA

// A row of Tiles' tables: instances of a template over MT.
#define GENFAST_TILES_4(t) nullptr, t<1>, t<2>, t<3>, t<4>
#define GENFAST_TILES_6(t) GENFAST_TILES_4(t), t<5>, t<6>
#define GENFAST_TILES_12(t) GENFAST_TILES_6(t), t<7>, t<8>, t<9>, t<10>, t<11>, t<12>
#define GENFAST_TILES_32(t)                                                                    \
    GENFAST_TILES_12(t), t<13>, t<14>, t<15>, t<16>, t<17>, t<18>, t<19>, t<20>, t<21>, t<22>, \
        t<23>, t<24>, t<25>, t<26>, t<27>, t<28>, t<29>, t<30>, t<31>, t<32>
