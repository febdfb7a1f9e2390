// The table of weight formats: a row of traits each. To add a format: its layout in format.h, a
// header beside int8.h, a row here, its pack and its matmul.
#pragma once

#include <string>

#include "quant/format.h"

namespace genfast {

struct FormatTraits {
    Format format;
    const char* name;
    double bits;     // per weight, scales included (for a long row)
    bool quantised;  // weights must be finite
};

const FormatTraits& traits(Format format);
Format format_from_name(const std::string& name);  // throws std::invalid_argument
Format dense_format(DType dtype);                  // f32, f16 or bf16
DType dense_dtype(Format format);

}  // namespace genfast
