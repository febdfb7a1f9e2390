// f32, f16 and bf16: the numbers themselves, a panel at a time (layouts in format.h).
// No STL: per-ISA sources include this file.
#pragma once

#include "quant/format.h"

namespace genfast {

// An element of a plain array of `dtype` (f32, f16 or bf16) as float; exact. The array may lie
// anywhere: tensors in a file need not be aligned.
GENFAST_ANYWHERE float load_element(const void* data, DType dtype, int64_t index) {
    const char* at = static_cast<const char*>(data) + index * itemsize(dtype);
    if (dtype == DType::f32) {
        float value;
        std::memcpy(&value, at, 4);
        return value;
    }
    uint16_t half;
    std::memcpy(&half, at, 2);
    return dtype == DType::f16 ? f16_to_f32(half) : bf16_to_f32(half);
}

namespace dense {

GENFAST_ANYWHERE DType dtype_of(Format format) {
    return format == Format::f32 ? DType::f32 : format == Format::f16 ? DType::f16 : DType::bf16;
}

// Where (row, k) lies, counted in elements from the start of its panel.
GENFAST_ANYWHERE int64_t index_in_panel(Format format, int row, int64_t k) {
    if (format == Format::bf16) return (k / 2 * kPanelRows + row) * 2 + k % 2;
    return k * kPanelRows + row;
}

static inline void store(Format format, std::byte* panel, int64_t index, float value) {
    if (format == Format::f32) {
        reinterpret_cast<float*>(panel)[index] = value;
    } else {
        reinterpret_cast<uint16_t*>(panel)[index] =
            format == Format::f16 ? f32_to_f16(value) : f32_to_bf16(value);
    }
}

// rows [32, K] f32, rounded to nearest even
static inline void pack_panel(Format format, const float* rows, int64_t K, std::byte* panel) {
    int64_t padded = padded_k(format, K);
    for (int row = 0; row < kPanelRows; ++row)
        for (int64_t k = 0; k < padded; ++k)
            store(format, panel, index_in_panel(format, row, k), k < K ? rows[row * K + k] : 0.0f);
}

// Columns [begin, end) of a row.
GENFAST_ANYWHERE void unpack_row(Format format, const std::byte* panel, int row, int64_t begin,
                                 int64_t end, float* out) {
    for (int64_t k = begin; k < end; ++k)
        out[k - begin] = load_element(panel, dtype_of(format), index_in_panel(format, row, k));
}

}  // namespace dense
}  // namespace genfast
