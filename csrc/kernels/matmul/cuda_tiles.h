// Many rows: tiles of 128 rows of the matrix by 64 rows of x, on tensor cores (bf16, fp8, int8,
// int4).
//
// A block's stages of 2 steps arrive in shared memory three ahead of what is multiplied. A row of x
// gets the bits that it gets alone (cuda_stream.h): the same products at the same places of the
// same instruction, summed over the same slices of K, which are added in the same order.
//
// The floor, of a tile and 32 columns of bf16: 128 mma, 256 cycles of an A100's multiprocessor; 12
// KB from L2, whose 5,120 bytes a cycle are 260 cycles of its share; and 24 KB from shared memory,
// at 128 bytes a cycle 192 cycles.
#pragma once

#include "cuda/copy_async.h"
#include "kernels/matmul/cuda_stream.h"

namespace genfast::cuda {

constexpr int kTilePanels = 4, kTileEights = 8;  // rows of the matrix by 32, rows of x by 8
constexpr int kTileRows = kTileEights * kMmaColumns;
constexpr int kStages = 4, kStageSteps = 2;
// Of a warp: the block's warps are two by two.
constexpr int kWarpPanels = kTilePanels / 2, kWarpEights = kTileEights / 2;

// What a block multiplies, as it arrives. A line's eight pieces of 16 bytes are exchanged so that
// the lanes of a load, which come from four lines (or four pairs of lines), meet all of the banks.
template <Format format>
struct Stage {
    static constexpr int kLines = step_lines(format),
                         kHead = int(step_head(format) / sizeof(uint4));
    static constexpr int kPieces = kHead + kLines * kLine;  // of a step of a panel
    static constexpr int kRowPieces = kMmaColumns * kMmaWords / 4;
    uint4 weights[kStageSteps][kTilePanels][kPieces];
    uint4 rows[kStageSteps][kTileEights][kRowPieces];

    __device__ static int place(int line, int piece) {
        return kHead + line * kLine + (piece ^ (line * 4 / kLines) * 2);
    }

    // Begins to copy its steps from `first` on. Zeros where the matrix or the rows end.
    __device__ void fetch(const MatmulArgs& a, const Rows& x, int first) {
        const int64_t panel = int64_t(blockIdx.y) * kTilePanels;
        const int64_t eight = int64_t(blockIdx.x) * kTileEights;
#pragma unroll 1
        for (int i = 0; i < kStageSteps && first + i < x.steps; ++i) {
            const int s = first + i;
            const int64_t lines = lines_left<format>(a.w, s);
#pragma unroll 1
            for (int p = int(threadIdx.x); p < kTilePanels * kPieces; p += kThreads) {
                const int64_t at = panel + p / kPieces;
                const int piece = p % kPieces - kHead, line = piece / kLine;
                const bool there = at < panel_count(a.w) && line < lines;
                const std::byte* from = a.w.data;
                if (there)
                    from += size_t(at) * panel_bytes(format, a.w.K) + s * step_bytes(format) +
                            (piece + kHead) * sizeof(uint4);
                const int to = piece < 0 ? piece + kHead : place(line, piece % kLine);
                copy_async(&weights[i][p / kPieces][to], from, there);
            }
            for (int p = int(threadIdx.x); p < kTileEights * kRowPieces; p += kThreads) {
                const int64_t at = eight + p / kRowPieces;
                const bool there = at * kRowsTogether < x.count;
                const uint32_t* from = x.step(there ? at * kRowsTogether : 0, s);
                copy_async(&rows[i][p / kRowPieces][p % kRowPieces], from + p % kRowPieces * 4,
                           there);
            }
        }
    }

    __device__ Weights<format> weights_of(int step, int panel) const {
        const uint4* pieces = weights[step][panel];
        return Weights<format>([&](int line) { return pieces[place(line, lane_row())]; },
                               reinterpret_cast<const std::byte*>(pieces));
    }
    __device__ uint2 words_of(int step, int eight) const {
        return reinterpret_cast<const uint2*>(rows[step][eight])[lane()];
    }
};

// Block (r, n): rows of x [64 r, 64 r + 64), panels [4 n, 4 n + 4).
template <Format format>
__global__ void __launch_bounds__(kThreads) multiply_tiles(MatmulArgs a, int slices) {
    wait_for_earlier_launches();
    using Sum = typename MmaSums<format>::Sum;
    __shared__ union {
        Stage<format> stages[kStages];
        uint32_t sums[kTilePanels][kTileRows][kPanelRows];
    } shared;
    const Rows rows = rows_in(a);
    const int steps = int(rows.steps);
    const int panel = warp() % 2 * kWarpPanels, eight = warp() / 2 * kWarpEights;

    for (int i = 0; i < kStages - 1; ++i) {
        shared.stages[i].fetch(a, rows, i * kStageSteps);
        end_copy_group();
    }
    auto multiply = [&](int s, MmaSums<format>(&sums)[kWarpPanels][kWarpEights]) {
        if (s % kStageSteps == 0) {
            wait_for_copies<kStages - 2>();
            __syncthreads();  // and the stage before this one has been multiplied by all
            const int next = s / kStageSteps + kStages - 1;
            shared.stages[next % kStages].fetch(a, rows, next * kStageSteps);
            end_copy_group();
        }
        const Stage<format>& stage = shared.stages[s / kStageSteps % kStages];
        uint2 x[kWarpEights];
#pragma unroll
        for (int j = 0; j < kWarpEights; ++j) x[j] = stage.words_of(s % kStageSteps, eight + j);
#pragma unroll
        for (int p = 0; p < kWarpPanels; ++p) {
            const Weights<format> weights = stage.weights_of(s % kStageSteps, panel + p);
#pragma unroll
            for (int j = 0; j < kWarpEights; ++j) sums[p][j].add(weights, x[j]);
        }
    };

    MmaSums<format> totals[kWarpPanels][kWarpEights];
    for (int slice = 0; slice < slices; ++slice) {
        MmaSums<format> sums[kWarpPanels][kWarpEights];
        const int end = int(slice_begin(slice + 1, slices, steps));
#pragma unroll 1
        for (int s = int(slice_begin(slice, slices, steps)); s < end; ++s) multiply(s, sums);
#pragma unroll
        for (int p = 0; p < kWarpPanels; ++p)
#pragma unroll
            for (int j = 0; j < kWarpEights; ++j) totals[p][j].add(sums[p][j]);
    }

    __syncthreads();  // stages have been multiplied
#pragma unroll
    for (int p = 0; p < kWarpPanels; ++p)
#pragma unroll
        for (int j = 0; j < kWarpEights; ++j)
            totals[p][j].each([&](int m, int row, Sum sum) {
                shared.sums[panel + p][(eight + j) * kMmaColumns + m][row] = bits_of(sum);
            });
    __syncthreads();
    const int64_t first = int64_t(blockIdx.x) * kTileRows;
    for (int p = 0; p < kTilePanels; ++p) {
        const int64_t of_all = int64_t(blockIdx.y) * kTilePanels + p;
        for (int m = warp(); m < kTileRows; m += kWarps) {
            if (of_all >= panel_count(a.w) || first + m >= a.M) break;
            Sum total = {};
            add_bits(total, shared.sums[p][m][lane()]);
            finish(a, rows, of_all, first + m, total);
        }
    }
}

template <Format format>
void launch_tiles(const MatmulArgs& a) {
    const dim3 grid(unsigned((a.M + kTileRows - 1) / kTileRows),
                    unsigned((panel_count(a.w) + kTilePanels - 1) / kTilePanels));
    launch(multiply_tiles<format>, grid, kThreads, a, int(streamed_slices(a.w)));
}

}  // namespace genfast::cuda
