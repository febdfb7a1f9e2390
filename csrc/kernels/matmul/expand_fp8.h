// Columns of an fp8 panel as those of a bf16 panel, for instructions that multiply pairs of bf16.
#pragma once

#include "kernels/matmul/tiles.h"
#include "simd/e4m3.h"

namespace genfast::GENFAST_ISA {

static void expand_fp8(const std::byte* panel, int64_t K, float* out) {
    for (int64_t k = 0; k < K; k += 4, panel += 4 * kPanelRows, out += 2 * kPanelRows)
        for (int v = 0; v < 2; ++v) {
            istore(out + v * kLanes, iload_e4m3_pairs<0>(panel + v * 64));
            istore(out + kPanelRows + v * kLanes, iload_e4m3_pairs<1>(panel + v * 64));
        }
}

}  // namespace genfast::GENFAST_ISA
