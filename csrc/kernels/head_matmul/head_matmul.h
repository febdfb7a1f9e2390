// head_matmul: every head's part of a row times a matrix of its own
//   out[t, h N + n] = sum over k of x[t, first + h K + k] * w_h[n, k]
//   x [T, columns] f32; H packed matrices [N, K] (quant/format.h), all of one format; out [T, H N]
//
// Each head is a matmul, done by one thread: its numerics are matmul's.
#pragma once

#include "quant/format.h"

namespace genfast {

struct HeadMatmulArgs {
    const float* x;
    const Matrix* matrices;  // [heads]
    float* out;
    std::byte* scratch;  // head_matmul_scratch_bytes, 64-byte aligned
    int64_t T, heads;
    int64_t columns, first;             // of x, and where its heads begin
    const Matrix* on_device = nullptr;  // of CUDA's kernels: the same matrices where they read them
};

}  // namespace genfast
