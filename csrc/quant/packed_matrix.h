// A weight matrix in memory: packed into panels, or (rows) a reference to a mapped file.
#pragma once

#include <memory>
#include <vector>

#include "core/buffer.h"
#include "core/thread_pool.h"
#include "quant/formats.h"

namespace genfast {

// A tensor as it lies in the file: [rows, cols] row-major, f32, f16 or bf16. `transposed`: the file
// holds [cols, rows], as GPT-2's Conv1D does.
struct WeightSource {
    const void* data = nullptr;
    DType dtype = DType::f32;
    int64_t rows = 0, cols = 0;
    bool transposed = false;
};

class PackedMatrix {
  public:
    // The sources one below the other (q, k and v become one matrix); gated: two of equal shape,
    // gate and up. Throws std::invalid_argument where their columns differ, or where a quantised
    // format meets a weight that is not finite.
    static PackedMatrix pack(Format format, const std::vector<WeightSource>& sources, bool gated,
                             ThreadPool& pool);
    // Row-major memory of somebody else's, which `owner` keeps alive; serves embed alone.
    static PackedMatrix rows(const void* data, DType dtype, int64_t N, int64_t K,
                             std::shared_ptr<const void> owner);

    const Matrix& view() const { return view_; }
    size_t nbytes() const;

  private:
    Matrix view_;
    Buffer buffer_;
    std::shared_ptr<const void> owner_;
};

}  // namespace genfast
