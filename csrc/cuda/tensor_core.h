// Tensor cores: a warp's product of a 16-row tile of `a` and an 8-column tile of `b`, added to
// `sum`. mma.sync, which every GPU from compute capability 8.0 on has.
//
// How its operands lie in the lanes (PTX ISA, "Matrix fragments for mma.m16n8k16" and "m16n8k32"),
// where lane = 4 g + t, and a word is a dword along K: 2 bf16 or 4 s8, 8 words in all:
//
//   a[0]   row g,     word t          b.x   column g, word t         sum[0]  row g,     column 2t
//   a[1]   row g + 8, word t          b.y   column g, word t + 4     sum[1]  row g,     column 2t+1
//   a[2]   row g,     word t + 4                                     sum[2]  row g + 8, column 2t
//   a[3]   row g + 8, word t + 4                                     sum[3]  row g + 8, column 2t+1
//
// Which row of a matrix is taken for row g, and which of its words for word t, is the caller's to
// choose, if it is the same in both operands.
#pragma once

#include "core/dtype.h"
#include "cuda/launch.h"

namespace genfast::cuda {

constexpr int kMmaColumns = 8;  // of b
constexpr int kMmaWords = 8;    // along K

// g and t of this lane.
__device__ inline int lane_row() {
    return lane() / 4;
}
__device__ inline int lane_word() {
    return lane() % 4;
}

__device__ inline uint32_t bf16_pair(float low, float high) {
    return uint32_t(f32_to_bf16(low)) | uint32_t(f32_to_bf16(high)) << 16;
}

// 32 rows whose dwords lie side by side, as two tiles: lane 4 g + t takes rows 4 g ... 4 g + 3, 16
// bytes, of words 2 t (`low`) and 2 t + 1 (`high`). So does the other operand: 8 bytes a lane.
struct TwoTiles {
    uint32_t a[2][4];

    __device__ TwoTiles() {}
    __device__ TwoTiles(uint4 low, uint4 high)
        : a{{low.x, low.y, high.x, high.y}, {low.z, low.w, high.z, high.w}} {}
    // The row that sum[e] of tile i is of.
    __device__ static int row(int i, int e) { return 4 * lane_row() + 2 * i + e / 2; }
};
// The column that sum[e] is of.
__device__ inline int lane_column(int e) {
    return 2 * lane_word() + e % 2;
}

// The nibbles of a word, of numbers plus 8, as signed bytes that are 16 times the numbers: with the
// highest bit turned and at the top of a byte.
__device__ inline uint32_t low_nibbles(uint32_t word) {
    return (word << 4 ^ 0x80808080u) & 0xf0f0f0f0u;
}
__device__ inline uint32_t high_nibbles(uint32_t word) {
    return (word ^ 0x80808080u) & 0xf0f0f0f0u;
}

#if !defined(GENFAST_CUDA_EMULATION)
// bf16, summed in float. The order of the sum is the hardware's own: equal operands in equal places
// give equal bits, and nothing else does.
__device__ inline void mma_bf16(float (&sum)[4], const uint32_t (&a)[4], uint2 b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

// Signed bytes, exact.
__device__ inline void mma_s8(int32_t (&sum)[4], const uint32_t (&a)[4], uint2 b) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}
#endif

}  // namespace genfast::cuda
