#include "quant/packed_matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "quant/dense.h"

namespace genfast {
namespace {

// Row n of the stacked sources as float; true when all of it is finite.
bool load_row(const std::vector<WeightSource>& sources, int64_t n, float* out) {
    const WeightSource* source = sources.data();
    while (n >= source->rows) n -= (source++)->rows;
    int64_t begin = source->transposed ? n : n * source->cols;
    int64_t step = source->transposed ? source->rows : 1;
    bool finite = true;
    for (int64_t k = 0; k < source->cols; ++k) {
        out[k] = load_element(source->data, source->dtype, begin + k * step);
        finite &= std::isfinite(out[k]);
    }
    return finite;
}

}  // namespace

PackedMatrix PackedMatrix::pack(Format format, const std::vector<WeightSource>& sources, bool gated,
                                ThreadPool& pool) {
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
    const FormatTraits& row = traits(format);
    const size_t bytes = panel_bytes(format, K);
    result.buffer_ = Buffer(bytes * size_t(panel_count(result.view_)));
    std::byte* panels = result.buffer_.data();
    result.view_.data = panels;
    Buffer scratch(size_t(pool.size()) * kPanelRows * size_t(K) * sizeof(float));

    constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
    std::atomic<int64_t> not_finite{kNone};
    pool.run([&](Team& team) {
        float* rows = scratch.as<float>() + team.index * kPanelRows * K;
        Range mine = share(panel_count(result.view_), team);
        for (int64_t p = mine.begin; p < mine.end; ++p) {
            for (int i = 0; i < kPanelRows; ++i) {
                int64_t n = row_at(result.view_, {p, i});
                if (n < 0)
                    std::fill_n(rows + i * K, K, 0.0f);
                else if (!load_row(sources, n, rows + i * K) && row.quantised)
                    for (int64_t seen = not_finite; n < seen;)
                        if (not_finite.compare_exchange_weak(seen, n)) break;
            }
            if (not_finite != kNone) return;
            row.pack_panel(rows, K, panels + size_t(p) * bytes);
        }
    });
    require(not_finite == kNone, "cannot quantise to ", row.name, ": row ", not_finite.load(),
            " holds a value that is not finite");
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
