// One row of a matrix as float, whatever its format. No STL: per-ISA sources include this file.
#pragma once

#include "quant/dense.h"
#include "quant/fp8.h"
#include "quant/int4.h"
#include "quant/int8.h"

namespace genfast {

// Columns [begin, end) of row n; begin is a multiple of 64.
GENFAST_ANYWHERE void unpack_row(const Matrix& matrix, int64_t n, int64_t begin, int64_t end,
                                 float* out) {
    const int64_t K = matrix.K;
    if (!matrix.panels) {
        DType dtype = dense::dtype_of(matrix.format);
        for (int64_t k = begin; k < end; ++k)
            out[k - begin] = load_element(matrix.data, dtype, n * K + k);
        return;
    }
    const auto [index, row] = place_of(matrix, n);
    const std::byte* panel = matrix.data + size_t(index) * panel_bytes(matrix.format, K);
    switch (matrix.format) {
        case Format::int8:
            return int8::unpack_row(panel, row, K, begin, end, out);
        case Format::fp8:
            return fp8::unpack_row(panel, row, K, begin, end, out);
        case Format::int4:
            return int4::unpack_row(panel, row, begin, end, out);
        default:
            return dense::unpack_row(matrix.format, panel, row, begin, end, out);
    }
}

}  // namespace genfast
