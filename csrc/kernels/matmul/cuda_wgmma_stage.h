// What Hopper's products are made of: the stages of a ring, who fills them, and the sums.
//
// Weights are the operand in registers: a panel is a warp's, its two tiles one of each of two
// products, so that a warpgroup has 128 rows of the matrix. Rows of x are the other operand. One
// warp has whole pieces of both copied; a stage is a block of four steps along K. A step takes
// eight of a block's 32 words: from each quarter of the block two, since quarters can lie 32 bytes
// apart from what would be their places, and so the lanes of a load meet all of the banks.
#pragma once

#include "cuda/wgmma.h"
#include "kernels/matmul/cuda_finish.h"
#include "kernels/matmul/cuda_mma.h"

namespace genfast::cuda {

constexpr int kGroupPanels = 4;                            // of a warpgroup: each warp has one
constexpr int kBlockWords = int(kBlockSteps) * kMmaWords;  // along K: lines of a panel

// What of a block of K is multiplied: four panels, kRows of x.
template <int kRows>
struct WgmmaStage {
    static constexpr int kQuarterPieces = kBlockWords / 4 * kLine;  // of 16 bytes
    static constexpr int kEightPieces = kBlockWords * 8 / 4;
    uint4 weights[kGroupPanels][4][kQuarterPieces + 2];
    uint4 rows[kRows / 8][kEightPieces];

    __device__ TwoTiles tiles(int panel, int step) const {
        const uint4* pieces = weights[panel][lane_word()];
        return {pieces[2 * step * kLine + lane_row()], pieces[(2 * step + 1) * kLine + lane_row()]};
    }
    // Of rows from `eight` times 8 on.
    __device__ uint64_t operand(int eight, int step) const {
        return describe(rows[eight] + step * kEightPieces / int(kBlockSteps), 128, sizeof(*rows));
    }
};

// Fills stages, by a warp: each lane has the same quarter of a panel and the same eight rows copied
// of every block. Panels and rows beyond the last are copies of it, which nobody reads out.
template <Format format, int kRows>
class WgmmaProducer {
    using Stage = WgmmaStage<kRows>;
    static constexpr int kQuarters = kGroupPanels * 4, kEights = kRows / 8;
    static_assert(kQuarters <= kWarp && kEights <= kWarp);

  public:
    __device__ WgmmaProducer(const MatmulArgs& a, const Rows& x, int64_t panel, int64_t row)
        : lines_(int(padded_k(format, a.w.K) / (format == Format::bf16 ? 2 : 4))) {
        const int64_t mine = panel + lane() / 4, last = panel_count(a.w) - 1;
        weights_ = a.w.data + size_t(mine < last ? mine : last) * panel_bytes(format, a.w.K) +
                   lane() % 4 * kQuarterBytes;
        const int64_t m = row + lane() * kRowsTogether, end = padded_rows(x.count);
        rows_ = x.block(m < end ? m : end - kRowsTogether, 0);
    }

    __device__ void fill(Stage& stage, Mbarrier& full, int block) const {
        const int lines = lines_ - block * kBlockWords;  // of the block, and more
        const int left = lines - lane() % 4 * kQuarterLines;
        const int mine = left < 0 ? 0 : left < kQuarterLines ? left : kQuarterLines;
        uint4* quarter = stage.weights[lane() / 4 % kGroupPanels][lane() % 4];
        if (lane() < kQuarters)  // zeros where the columns end
            for (int i = mine * kLine; i < Stage::kQuarterPieces; ++i) quarter[i] = {};
        __syncwarp();
        if (lane() == 0)
            full.arrive_expecting(kGroupPanels * (lines < kBlockWords ? lines : kBlockWords) *
                                      kLineBytes +
                                  kEights * kEightBytes);
        __syncwarp();
        if (lane() < kQuarters && mine > 0)
            copy_bulk(quarter, weights_ + int64_t(block) * 4 * kQuarterBytes, mine * kLineBytes,
                      full);
        if (lane() < kEights)
            copy_bulk(stage.rows[lane() % kEights], rows_ + int64_t(block) * (kEightBytes / 4),
                      kEightBytes, full);
    }

  private:
    static constexpr int kQuarterLines = kBlockWords / 4, kLineBytes = kLine * 16,
                         kQuarterBytes = kQuarterLines * kLineBytes,
                         kEightBytes = Stage::kEightPieces * 16;
    const std::byte* weights_;
    const uint32_t* rows_;
    int lines_;
};

// A warpgroup's sums of its panels by kRows rows of x.
template <Format format, int kRows>
struct WgmmaSums {
    using Sum = std::conditional_t<format == Format::int8, int32_t, float>;
    Sum sum[2][kRows / 2] = {};  // of two tiles

    __device__ void begin_adding(const TwoTiles& tiles, uint64_t rows) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
            if constexpr (format == Format::int8)
                wgmma_s8<kRows>(sum[i], tiles.a[i], rows);
            else
                wgmma_bf16<kRows>(sum[i], tiles.a[i], rows);
    }
    __device__ void hold() {
        hold_registers(sum[0]);
        hold_registers(sum[1]);
    }
    __device__ void add(const WgmmaSums& other) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int e = 0; e < kRows / 2; ++e) sum[i][e] += other.sum[i][e];
    }
    // Of rows 4 g ... 4 g + 3 of the panel by row row_of(i) of x, i < kRows / 4.
    __device__ static int row_of(int i) { return i / 2 * 8 + 2 * lane_word() + i % 2; }
    __device__ uint4 four(int i) const {
        const int e = i / 2 * 4 + i % 2;
        return {bits_of(sum[0][e]), bits_of(sum[0][e + 2]), bits_of(sum[1][e]),
                bits_of(sum[1][e + 2])};
    }
};

}  // namespace genfast::cuda
