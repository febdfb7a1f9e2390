#include "program/packed_matrix.h"

#include <algorithm>

#include "core/error.h"
#include "quant/dense.h"

namespace genfast {
PackedMatrix PackedMatrix::pack(Format format, const std::vector<WeightSource>& sources, bool gated,
                                ThreadPool& pool, const Kernels& kernels) {
    require(!sources.empty(), "sources must hold at least one tensor");
    require(!gated || (sources.size() == 2 && sources[0].rows == sources[1].rows),
            "a gated matrix takes gate and up, of equal shapes");
    PackedMatrix result;
    result.view_ = {format, true, gated, 0, sources[0].cols, nullptr};
    for (const WeightSource& source : sources) {
        require(source.rows > 0 && source.cols > 0, "a source must have rows and columns, found [",
                source.rows, ", ", source.cols, "]");
        require(source.cols == sources[0].cols, "stacked sources must have equal columns, found ",
                sources[0].cols, " and ", source.cols);
        dense_format(source.dtype);
        result.view_.N += source.rows;
    }
    const int64_t K = result.view_.K;
    require(format != Format::int8 || K <= 131072, "int8 sums hold at most 131072 columns, found ",
            K);
    result.buffer_ = Buffer(panel_bytes(format, K) * size_t(panel_count(result.view_)));
    result.view_.data = result.buffer_.data();
    Buffer scratch(size_t(pool.size()) * pack_scratch_bytes(K));
    std::vector<int64_t> not_finite(size_t(pool.size()), kAllFinite);
    PackArgs args{sources.data(), result.view_, result.buffer_.data(), scratch.data(),
                  not_finite.data()};
    pool.run([&](Team& team) { kernels.pack(args, team); });
    const int64_t row = *std::min_element(not_finite.begin(), not_finite.end());
    require(row == kAllFinite || !traits(format).quantised, "cannot quantise to ",
            traits(format).name, ": row ", row, " holds a value that is not finite");
    return result;
}

PackedMatrix PackedMatrix::rows(const void* data, DType dtype, int64_t N, int64_t K,
                                std::shared_ptr<const void> owner) {
    require(N > 0 && K > 0, "a matrix must have rows and columns, found [", N, ", ", K, "]");
    PackedMatrix result;
    result.view_ = {dense_format(dtype), false, false, N, K, static_cast<const std::byte*>(data)};
    result.owner_ = std::move(owner);
    return result;
}

size_t PackedMatrix::nbytes() const {
    if (view_.panels) return panel_bytes(view_.format, view_.K) * size_t(panel_count(view_));
    return size_t(view_.N) * size_t(view_.K) * size_t(itemsize(dense_dtype(view_.format)));
}

}  // namespace genfast
