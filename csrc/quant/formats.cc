#include "quant/formats.h"

#include "core/error.h"
#include "quant/dense.h"

namespace genfast {
namespace {

constexpr FormatTraits kTraits[] = {
    {Format::f32, "f32", 32, false},   {Format::f16, "f16", 16, false},
    {Format::bf16, "bf16", 16, false}, {Format::int8, "int8", 8, true},
    {Format::int4, "int4", 4.5, true}, {Format::fp8, "fp8", 8, true},
};

}  // namespace

const FormatTraits& traits(Format format) {
    return kTraits[int(format)];
}

Format format_from_name(const std::string& name) {
    std::string choices;
    for (const FormatTraits& row : kTraits) {
        if (name == row.name) return row.format;
        choices += cat(choices.empty() ? "" : ", ", row.name);
    }
    throw std::invalid_argument(cat("format=\"", name, "\" must be one of ", choices));
}

Format dense_format(DType dtype) {
    require(dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16,
            "weights must be f32, f16 or bf16");
    return dtype == DType::f32 ? Format::f32 : dtype == DType::f16 ? Format::f16 : Format::bf16;
}

DType dense_dtype(Format format) {
    require(!traits(format).quantised, traits(format).name, " is not a plain element type");
    return dense::dtype_of(format);
}

}  // namespace genfast
