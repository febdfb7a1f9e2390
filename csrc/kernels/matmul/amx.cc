// bf16 (and fp8, once it is bf16) and int8 weights with AMX: an instruction multiplies 16 tokens by
// 16 rows, 64 bytes of k each. A panel consists of such tiles already: a dword of k of its 32 rows
// is 128 bytes, those of rows 0-15 the first 64. So weights and packed activations load as they
// lie.
//
// int8 sums are exact: the same bits as the tiles of other instruction sets, which take the small
// batches (tiles_for in simd.cc). tdpbf16ps adds up in an order of its own (matmul.h), so bf16 has
// no other tiles here, not even for one token: with vdpbf16ps for some batches, a row's result
// would depend on how many rows there are.
//
// The self-test compiles this file a second time, over tile registers in plain C++.
#include "kernels/matmul/expand_fp8.h"

#if defined(GENFAST_TILE_EMULATION)
#include GENFAST_TILE_EMULATION
#else
#include "kernels/matmul/amx_instructions.h"
#endif

namespace genfast::GENFAST_ISA {

constexpr int kTileRows = 16;                // of a register
constexpr int kDwordBytes = kPanelRows * 4;  // a dword of each row of a panel, or of c

// The registers: sums of tokens 0-15 and 16-31 by rows 0-15 and 16-31; what they are made of.
enum : int { kSums00, kSums01, kSums10, kSums11, kTokens0, kTokens1, kRows0, kRows1 };

struct TileConfig {  // as ldtilecfg reads it; what is not used is zero
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// Registers have as many rows as there are tokens, so that few tokens cost few.
static void begin(int MT) {
    const uint8_t first = uint8_t(MT < kTileRows ? MT : kTileRows), second = uint8_t(MT - first);
    const uint8_t rows[] = {first, first, second, second, first, second, kTileRows, kTileRows};
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
        config.rows[tile] = rows[tile];
        config.row_bytes[tile] = rows[tile] ? kTileRowBytes : 0;
    }
    tile_configure(&config);
}

template <Format format, int sums, int tokens, int rows>
static inline void dot() {
    if constexpr (format == Format::int8)
        tile_dot_s8<sums, tokens, rows>();
    else
        tile_dot_bf16<sums, tokens, rows>();
}

// Sixteen dwords of k.
template <Format format, int MT>
static inline void step(const std::byte* w, const std::byte* x) {
    tile_load<kRows0>(w, kDwordBytes);
    tile_load<kRows1>(w + kTileRowBytes, kDwordBytes);
    tile_load<kTokens0>(x, kTileRowBytes);
    dot<format, kSums00, kTokens0, kRows0>();
    dot<format, kSums01, kTokens0, kRows1>();
    if constexpr (MT > kTileRows) {
        tile_load<kTokens1>(x + kTileRows * kTileRowBytes, kTileRowBytes);
        dot<format, kSums10, kTokens1, kRows0>();
        dot<format, kSums11, kTokens1, kRows1>();
    }
}

enum class Move { zero, load, store };

template <Move move, int tile>
static inline void move_tile([[maybe_unused]] std::byte* at) {
    if constexpr (move == Move::zero) tile_zero<tile>();
    if constexpr (move == Move::load) tile_load<tile>(at, kDwordBytes);
    if constexpr (move == Move::store) tile_store<tile>(at, kDwordBytes);
}
template <Move move, int MT>
static inline void move_sums(void* c) {
    std::byte* at = static_cast<std::byte*>(c);
    move_tile<move, kSums00>(at);
    move_tile<move, kSums01>(at + kTileRowBytes);
    if constexpr (MT > kTileRows) {
        move_tile<move, kSums10>(at + kTileRows * kDwordBytes);
        move_tile<move, kSums11>(at + kTileRows * kDwordBytes + kTileRowBytes);
    }
}

template <Format format, bool resume, int MT>
static void amx_tile(const std::byte* panel, const std::byte* x, int64_t K, float* c) {
    move_sums<resume ? Move::load : Move::zero, MT>(c);
    int64_t dwords = format == Format::int8 ? K / 4 : K / 2;
    for (; dwords >= kTileRows; dwords -= kTileRows) {
        step<format, MT>(panel, x);
        panel += kTileRows * kDwordBytes;
        x += MT * kTileRowBytes;
    }
    if (dwords) {  // packed activations end in zeros; a panel does not
        alignas(64) std::byte last[kTileRows * kDwordBytes] = {};
        __builtin_memcpy(last, panel, size_t(dwords) * kDwordBytes);
        step<format, MT>(last, x);
    }
    move_sums<Move::store, MT>(c);
}

template <int MT>
constexpr Tile int8_first = amx_tile<Format::int8, false, MT>;
template <int MT>
constexpr Tile bf16_first = amx_tile<Format::bf16, false, MT>;
template <int MT>
constexpr Tile bf16_resume = amx_tile<Format::bf16, true, MT>;

const Tiles int8_amx_tiles = {.variant = "int8_amx",
                              .layout = Layout::s8_rows,
                              .max_tokens = 32,
                              .tile = {GENFAST_TILES_32(int8_first)},
                              .begin = begin,
                              .end = tile_release};
const Tiles bf16_amx_tiles = {.variant = "bf16_amx",
                              .layout = Layout::bf16_rows,
                              .max_tokens = 32,
                              .tile = {GENFAST_TILES_32(bf16_first)},
                              .resume = {GENFAST_TILES_32(bf16_resume)},
                              .near_columns = 2048,
                              .begin = begin,
                              .end = tile_release};
const Tiles fp8_amx_tiles = {.variant = "fp8_amx",
                             .layout = Layout::bf16_rows,
                             .max_tokens = 32,
                             .tile = {},
                             .near_columns = kMostExpandedPairs,
                             .expand = expand_fp8,
                             .expanded = &bf16_amx_tiles,
                             .begin = begin,
                             .end = tile_release};

}  // namespace genfast::GENFAST_ISA
