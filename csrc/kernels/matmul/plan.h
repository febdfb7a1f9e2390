// How a call is cut up: tokens into tiles (registers) and blocks (L2), K into blocks (dense
// formats). Nothing here changes a result: every output stays one chain over k.
#pragma once

#include "kernels/matmul/matmul.h"
#include "kernels/matmul/tiles.h"

namespace genfast::GENFAST_ISA {

constexpr size_t kBlockBytes = 384 * 1024;  // packed activations of a block: half of a small L2
constexpr int64_t kDynamicTiles = 4;        // from here on a job is worth an atomic operation
constexpr int64_t kBlockColumns = 2048;     // dense: a panel's part that stays in L2 between tiles

struct Plan {
    int64_t K;             // columns as stored
    int MT;                // tokens a tile
    int64_t tiles, block;  // all tiles; tiles a block
    int64_t k_block;
    // Scratch, in bytes from its start. For one token each thread packs its own copy instead of
    // waiting for another's, `private_bytes` apart.
    size_t tile_bytes, scales, partial, partial_bytes, private_bytes;
    size_t rotated_floats;  // at the end of a thread's partial sums: a row of activations, for int8
    size_t bytes;
};

static inline size_t align64(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static inline Plan make_plan(const Tiles& kernels, const Matrix& w, int64_t M, int threads) {
    Plan p;
    p.K = padded_k(w.format, w.K);
    p.tiles = (M + kernels.max_tokens - 1) / kernels.max_tokens;
    p.MT = int((M + p.tiles - 1) / p.tiles);
    bool blocked = kernels.resume[1] != nullptr && p.tiles > 1 && p.K > kBlockColumns;
    p.k_block = blocked ? kBlockColumns : p.K;
    p.tile_bytes = align64(tile_bytes(kernels.layout, p.K, p.MT));
    p.block = int64_t(kBlockBytes / tile_bytes(kernels.layout, p.k_block, p.MT));
    p.block = p.block < 1 ? 1 : p.block > p.tiles ? p.tiles : p.block;

    size_t acts = p.tile_bytes * size_t(p.tiles);
    size_t scales = align64(size_t(p.tiles) * size_t(p.MT) * sizeof(float));
    p.private_bytes = M == 1 ? acts + scales : 0;
    p.scales = acts;
    p.partial = M == 1 ? p.private_bytes * size_t(threads) : acts + scales;
    p.rotated_floats = w.format == Format::int8 ? size_t(round_up(p.K, 16)) : 0;
    p.partial_bytes =
        align64(size_t(blocked ? p.block : 1) * size_t(p.MT) * kPanelRows * sizeof(float)) +
        p.rotated_floats * sizeof(float);
    p.bytes = p.partial + p.partial_bytes * size_t(threads);
    return p;
}

}  // namespace genfast::GENFAST_ISA
