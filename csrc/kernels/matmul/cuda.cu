// Products by packed matrices.
//
// The matrix lies in the CPU's panels (quant/format.h), which suit a GPU as they are: a panel's 32
// rows are a warp's lanes, or two tiles of a tensor core, every load of a warp lies side by side,
// and no lane needs another's sum. So one packed cache serves both, weights go to the device as
// they lie in its map, and int8 and int4 are the CPU's integers.
//
// bf16, fp8, int8 and int4 are multiplied by tensor cores whatever the number of rows, so that a
// row is the same bits alone and among many: on Hopper bf16 by wgmma only, whose sums may have
// another order than mma.sync's; sums of int8 are exact.
#include <string_view>

#include "kernels/attention/cuda_block.h"
#include "kernels/matmul/cuda_each.h"
#include "kernels/matmul/cuda_tiles.h"
#include "kernels/matmul/cuda_wgmma.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

static_assert(kEachRows == kMostStreamed && kFewRows <= kMostByWgmma);

int64_t slices_of(const Matrix& w, int64_t M) {
    return by_wgmma(w.format, M) ? wgmma_slices(w) : streamed_slices(w);
}

// Block m: row m; that of the first row also clears the counters.
__device__ void prepare_block(const MatmulArgs& a) {
    const int64_t m = blockIdx.x;
    if (m >= a.M) return;
    const float* x = a.x + m * x_row(a);
    const Rows rows = rows_in(a);
    prepare_row(rows, m, [&](int64_t k) { return x[k]; });
    if (m == 0) clear_counters(rows, panel_count(a.w));
}
__global__ void prepare(MatmulArgs a) {
    wait_for_earlier_launches();
    prepare_block(a);
}
__global__ void prepare_each(const MatmulArgs* each) {
    wait_for_earlier_launches();
    prepare_block(each[blockIdx.y]);
}

template <Format format>
void multiply(const MatmulArgs& a) {
    if (!a.prepared) launch(prepare, dim3(unsigned(a.M)), kThreads, a);
    if constexpr (format == Format::bf16 || format == Format::int8)
        if (by_wgmma(format, a.M)) {
            if constexpr (format == Format::bf16)
                if (streams(format, a.M)) return launch_few_by_wgmma<format>(a);
            return launch_many_by_wgmma<format>(a);
        }
    if constexpr (!is_float(format))
        if (!streams(format, a.M)) return launch_tiles<format>(a);
    launch_streamed<format>(a);
}

template <Format format>
void multiply_all(const Matrix& w, const MatmulArgs* each, int64_t count, int64_t M) {
    launch(prepare_each, dim3{unsigned(M), unsigned(count)}, kThreads, each);
    if constexpr (format == Format::bf16)
        if (by_wgmma(format, M)) return launch_each_by_wgmma<format>(w, each, count, M);
    launch_each<format>(w, each, count, M);
}

// fn<format>() of the format at hand.
template <class Fn>
void with_format(Format format, Fn fn) {
    switch (format) {
        case Format::f32:
            return fn.template operator()<Format::f32>();
        case Format::f16:
            return fn.template operator()<Format::f16>();
        case Format::bf16:
            return fn.template operator()<Format::bf16>();
        case Format::int8:
            return fn.template operator()<Format::int8>();
        case Format::int4:
            return fn.template operator()<Format::int4>();
        case Format::fp8:
            return fn.template operator()<Format::fp8>();
    }
}

}  // namespace

void matmul(const MatmulArgs& a, Team& team) {
    if (team.index == 0) with_format(a.w.format, [&]<Format format>() { multiply<format>(a); });
}

void matmul_each(const Matrix& w, const MatmulArgs* each, int64_t count, int64_t M) {
    for (; count > 0; count -= kEachAtOnce, each += kEachAtOnce)
        with_format(w.format, [&]<Format format>() {
            multiply_all<format>(w, each, count < kEachAtOnce ? count : kEachAtOnce, M);
        });
}

RowsFor rows_for(const Matrix& w) {
    return {w.format, panel_count(w)};
}

int64_t prepared_rows(const char* op, Format own, const Matrix& w) {
    const std::string_view name = op;
    if (is_float(w.format)) return 0;
    if (name == "rms_norm" || name == "layer_norm") return INT64_MAX;
    if (name == "attention") return kMostSplitRows;
    if (name != "matmul") return 0;
    return !is_quantised(w.format) ? INT64_MAX : is_quantised(own) ? kMostQuantised : 0;
}

size_t prepared_bytes(const Matrix& w, int64_t rows) {
    // Few rows may need more than many do.
    const int64_t few = streams(w.format, rows) ? rows : kFewRows;
    const size_t of_many = rows_bytes(w, rows), of_few = rows_bytes(w, few);
    return of_many > of_few ? of_many : of_few;
}

size_t each_scratch_bytes(const Matrix& w, int64_t M) {
    return size_t(round_up(int64_t(matmul_scratch_bytes(w, M, 1)), 64));
}

size_t matmul_scratch_bytes(const Matrix& w, int64_t M, int) {
    const int64_t few = streams(w.format, M) ? M : kFewRows;
    return prepared_bytes(w, M) + part_bytes(w, few, slices_of(w, few)) + quantised_bytes(w, M);
}

const char* matmul_variant(Format format) {
    if (by_wgmma(format, INT64_MAX))
        return format == Format::bf16 ? "cuda_bf16_wgmma" : "cuda_int8_wgmma";
    const char* names[] = {"cuda_f32",  "cuda_f16",  "cuda_bf16",
                           "cuda_int8", "cuda_int4", "cuda_fp8"};
    return names[int(format)];
}

}  // namespace genfast::cuda
