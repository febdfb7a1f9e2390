// pack: the tensors of a checkpoint into panels (quant/format.h)
//   The sources one below the other are the N rows of w: [rows, K] f32, f16 or bf16 as they lie in
//   the file (anywhere: nothing there is aligned), or transposed. Of `panels` those from
//   first_panel to last_panel are written, padding as zeros. Dense formats round to nearest even;
//   int8, int4 and fp8 choose their scales as quant/int8.h, int4.h and fp8.h say, to the same bits
//   on every instruction set.
//
// A weight that is not finite (for int8: once rotated) is kept by the dense formats. A quantised
// one cannot: not_finite gets the first row of each thread's that holds one, and the panels are
// worthless.
#pragma once

#include "core/dtype.h"
#include "quant/format.h"

namespace genfast {

// A tensor as it lies in the file: [rows, cols] row-major, f32, f16 or bf16. `transposed`: the file
// holds [cols, rows], as GPT-2's Conv1D does.
struct WeightSource {
    const void* data = nullptr;
    DType dtype = DType::f32;
    int64_t rows = 0, cols = 0;
    bool transposed = false;
};

constexpr int64_t kAllFinite = INT64_MAX;

struct PackArgs {
    const WeightSource* sources;
    Matrix w;                         // the result's shape and format; its data is `panels`
    int64_t first_panel, last_panel;  // which of its panels: [first, last)
    std::byte* panels;
    std::byte* scratch;   // pack_scratch_bytes(w.K) for each thread
    int64_t* not_finite;  // [threads], kAllFinite before
};

constexpr int64_t kPackColumns = 512;  // at a time: 32 rows of them as float stay in the L2 cache

static inline size_t pack_scratch_bytes(int64_t K) {
    const int64_t columns = K > kPackColumns ? K : kPackColumns;
    return size_t(kPanelRows) * size_t(columns) * sizeof(float);
}

// A row of w where it lies: elements `step` apart. No data: a row of padding.
struct SourceRow {
    const char* data = nullptr;
    DType dtype = DType::f32;
    int64_t step = 1;
};

static inline SourceRow source_row(const WeightSource* source, int64_t n) {
    if (n < 0) return {};
    while (n >= source->rows) n -= (source++)->rows;
    const int64_t first = source->transposed ? n : n * source->cols;
    return {static_cast<const char*>(source->data) + first * itemsize(source->dtype), source->dtype,
            source->transposed ? source->rows : 1};
}

}  // namespace genfast
