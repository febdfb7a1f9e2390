// How a call is cut up: tokens into tiles (registers) and blocks (L2), K into blocks (L1), and
// panels into jobs. Nothing here changes a result: every output stays one chain over k.
#pragma once

#include "kernels/matmul/matmul.h"
#include "kernels/matmul/tiles.h"

namespace genfast::GENFAST_ISA {

constexpr size_t kBlockBytes = 384 * 1024;  // packed activations of a block: half of a small L2
constexpr int64_t kDynamicTiles = 4;        // from here on a job is worth an atomic operation

struct Plan {
    int64_t K;             // columns as stored
    int MT;                // tokens a tile
    int64_t tiles, block;  // all tiles; tiles a block
    int64_t k_block;
    int64_t panels;  // of a job, at most: they read the same activations while these are near
    // Scratch, in bytes from its start: activations, a block of K after the other, all tiles of
    // each. For one token each thread packs its own copy instead of waiting for another's,
    // `private_bytes` apart.
    size_t part_bytes;  // a tile's part of a block of K
    size_t scales, partial, partial_bytes, private_bytes;
    size_t rotated_floats;  // at the end of a thread's partial sums: a tile's rows, for int8
    size_t bytes;

    size_t part(int64_t k, int64_t tile) const {
        return size_t(k / k_block * tiles + tile) * part_bytes;
    }
};

static inline size_t align64(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static inline Plan make_plan(const Tiles& kernels, const Matrix& w, int64_t M, int threads) {
    Plan p;
    p.K = padded_k(w.format, w.K);
    p.tiles = ceil_div(M, kernels.max_tokens);
    p.MT = int(ceil_div(M, p.tiles));
    const bool cut = p.tiles > 1 || expands(kernels, p.tiles);
    const bool blocked = kernels.near_columns && cut && p.K > kernels.near_columns;
    p.k_block = blocked ? kernels.near_columns : p.K;
    p.part_bytes = align64(tile_bytes(kernels.layout, p.k_block, p.MT));
    p.block = int64_t(kBlockBytes / p.part_bytes);
    p.block = p.block < 1 ? 1 : p.block > p.tiles ? p.tiles : p.block;
    // As many jobs for each thread as for every other.
    const int64_t panels = panel_count(w);
    const int64_t jobs = blocked ? ceil_div(panels, kernels.near_panels) : panels;
    p.panels = ceil_div(panels, round_up(jobs, threads));

    const size_t acts = p.part_bytes * size_t(p.tiles * ceil_div(p.K, p.k_block));
    const size_t scales = align64(size_t(p.tiles) * size_t(p.MT) * sizeof(float));
    p.private_bytes = M == 1 ? acts + scales : 0;
    p.scales = acts;
    p.partial = M == 1 ? p.private_bytes * size_t(threads) : acts + scales;
    p.rotated_floats = w.format == Format::int8 ? size_t(p.MT) * size_t(round_up(p.K, 16)) : 0;
    // A smaller team has larger jobs, but none has more panels than these.
    const int64_t most = kernels.near_panels < panels ? kernels.near_panels : panels;
    p.partial_bytes =
        align64(size_t(blocked ? p.block * most : 1) * size_t(p.MT) * kPanelRows * sizeof(float)) +
        p.rotated_floats * sizeof(float);
    p.bytes = p.partial + p.partial_bytes * size_t(threads);
    return p;
}

// Many tokens are cut into jobs: a thread packs a job's and multiplies them by all panels, so that
// no core fetches what another one packed.
struct Jobs {
    int64_t least;  // tiles that are worth a pass of all weights
    int64_t most;   // tiles that stay in L2, or `least`
    int64_t count;  // 0: all threads share panels

    Jobs(const Tiles& kernels, const Matrix& w, int64_t tiles, int threads) {
        const size_t bytes =
            tile_bytes(kernels.layout, padded_k(w.format, w.K), kernels.max_tokens);
        least = ceil_div(kernels.expand ? 384 : 96, kernels.max_tokens);  // worth expanding columns
        most = int64_t(kBlockBytes / bytes);
        most = most < least ? least : most;
        const int64_t each = tiles / threads;
        int64_t size = each / 4 < most ? each / 4 : most;  // someone may be slowed down
        size = size < least ? least : size;
        count = each / size * threads;
        if (count < 2) count = 0;
    }
    // Of no team does a job, or a call without jobs, have more tiles.
    int64_t most_apart() const { return 2 * most; }
    int64_t most_together(int threads) const {
        return most_apart() > least * threads ? most_apart() : least * threads;
    }
};

}  // namespace genfast::GENFAST_ISA
