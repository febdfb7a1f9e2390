#include "program/packed_matrix.h"

#include <algorithm>

#include "core/buffer.h"
#include "core/error.h"
#include "core/slab.h"
#include "io/pages.h"
#include "quant/dense.h"

namespace genfast {
namespace {

// Sources read between two releases of their pages: little beside a model, much beside a call.
constexpr int64_t kStepBytes = 32 << 20;
constexpr uintptr_t kAlignment = 64;  // kernels load whole cache lines

size_t source_row_bytes(const WeightSource& source) {
    return size_t(source.cols) * size_t(itemsize(source.dtype));
}

int64_t panels_a_step(const std::vector<WeightSource>& sources) {
    size_t row_bytes = 1;
    for (const WeightSource& source : sources)
        row_bytes = std::max(row_bytes, source_row_bytes(source));
    return std::max<int64_t>(1, kStepBytes / int64_t(row_bytes * kPanelRows));
}

// Lets go of the rows that lie in panels [first, last). A transposed source has a bit of every row
// on each page, so it stays until its last row is packed.
void release_rows(const std::vector<WeightSource>& sources, const Matrix& w, int64_t first,
                  int64_t last) {
    int64_t before = 0;  // rows of the sources that came before
    for (const WeightSource& source : sources) {
        // In a gated matrix gate and up advance together; otherwise one follows the other.
        const int64_t start = w.gated ? 0 : before;
        const int64_t begin = std::max<int64_t>(0, first * panel_outputs(w) - start);
        const int64_t end = std::min(source.rows, last * panel_outputs(w) - start);
        const auto* data = static_cast<const std::byte*>(source.data);
        if (!source.transposed && begin < end)
            release_pages(data + size_t(begin) * source_row_bytes(source),
                          size_t(end - begin) * source_row_bytes(source));
        if (source.transposed && begin < end && end == source.rows)
            release_pages(data, size_t(source.rows) * source_row_bytes(source));
        before += source.rows;
    }
}

}  // namespace

PackedMatrix PackedMatrix::pack(Format format, const std::vector<WeightSource>& sources, bool gated,
                                ThreadPool& pool, const Kernels& kernels, bool mapped) {
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
    const int64_t K = result.view_.K, panels = panel_count(result.view_);
    require(format != Format::int8 || K <= 131072, "int8 sums hold at most 131072 columns, found ",
            K);
    const std::shared_ptr<std::byte> memory =
        weight_memory(panel_bytes(format, K) * size_t(panels));
    result.owner_ = memory;
    result.view_.data = memory.get();
    Buffer scratch(size_t(pool.size()) * pack_scratch_bytes(K));
    std::vector<int64_t> not_finite(size_t(pool.size()), kAllFinite);
    PackArgs args{sources.data(), result.view_,     0, panels, memory.get(),
                  scratch.data(), not_finite.data()};
    const int64_t step = mapped ? panels_a_step(sources) : panels;
    for (int64_t first = 0; first < panels; first += step) {
        args.first_panel = first;
        args.last_panel = std::min(first + step, panels);
        pool.run([&](Team& team) { kernels.pack(args, team); });
        if (mapped) release_rows(sources, result.view_, args.first_panel, args.last_panel);
    }
    const int64_t row = *std::min_element(not_finite.begin(), not_finite.end());
    require(row == kAllFinite || !traits(format).quantised, "cannot quantise to ",
            traits(format).name, ": row ", row, " holds a value that is not finite");
    return result;
}

PackedMatrix PackedMatrix::panels(Format format, int64_t N, int64_t K, bool gated, const void* data,
                                  size_t bytes, std::shared_ptr<const void> owner) {
    require(N > 0 && K > 0, "a matrix must have rows and columns, found [", N, ", ", K, "]");
    require(!gated || N % 2 == 0, "a gated matrix has as many rows of gate as of up, found ", N);
    require(reinterpret_cast<uintptr_t>(data) % kAlignment == 0,
            "panels must lie at a multiple of ", kAlignment, " bytes");
    PackedMatrix result;
    result.view_ = {format, true, gated, N, K, static_cast<const std::byte*>(data)};
    require(bytes == result.nbytes(), "panels of [", N, ", ", K, "] as ", traits(format).name,
            " are ", result.nbytes(), " bytes, found ", bytes);
    result.owner_ = std::move(owner);
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
