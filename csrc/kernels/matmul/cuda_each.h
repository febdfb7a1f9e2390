// Many products at once, listed in the device's memory, so that a kernel may choose their operands.
// A row gets the bits that matmul gives it.
#pragma once

#include "kernels/matmul/matmul.h"

namespace genfast::cuda {

constexpr int64_t kEachRows = 16;     // most rows of a product
constexpr int64_t kEachAtOnce = 256;  // products, which then need scratch of their own

// each [count]: of at most M rows, or of none; their matrices have the shape and format of w.
// Product i may share its scratch, each_scratch_bytes of M rows, with i +- kEachAtOnce.
void matmul_each(const Matrix& w, const MatmulArgs* each, int64_t count, int64_t M);

size_t each_scratch_bytes(const Matrix& w, int64_t M);

}  // namespace genfast::cuda
