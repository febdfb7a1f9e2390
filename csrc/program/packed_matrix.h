// A weight matrix: panels in memory of its own or in a mapped cache, or (rows) a table as it lies
// in a mapped file.
#pragma once

#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/dispatch.h"
#include "quant/formats.h"

namespace genfast {

class PackedMatrix {
  public:
    // The sources one below the other (q, k and v become one matrix); gated: two of equal shape,
    // gate and up. Throws std::invalid_argument where their columns differ, or where a quantised
    // format meets a weight that is not finite. Mapped sources lie in read-only maps of files: as
    // the work goes on their pages are let go, or file and panels would be in memory together.
    static PackedMatrix pack(Format format, const std::vector<WeightSource>& sources, bool gated,
                             ThreadPool& pool, const Kernels& kernels = kernels_for(),
                             bool mapped = false);
    // What pack made of this shape, in somebody else's memory: `bytes` long, aligned to 64.
    static PackedMatrix panels(Format format, int64_t N, int64_t K, bool gated, const void* data,
                               size_t bytes, std::shared_ptr<const void> owner);
    // Row-major memory of somebody else's, which `owner` keeps alive; serves embed alone.
    static PackedMatrix rows(const void* data, DType dtype, int64_t N, int64_t K,
                             std::shared_ptr<const void> owner);

    const Matrix& view() const { return view_; }
    size_t nbytes() const;

  private:
    Matrix view_;
    std::shared_ptr<const void> owner_;  // of the memory
};

}  // namespace genfast
