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
#include "kernels/matmul/cuda_each.h"
#include "kernels/matmul/cuda_tiles.h"
#include "kernels/matmul/cuda_wgmma.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

// Up to so many rows the matrix is streamed, which cuts K between blocks; more go in tiles.
constexpr int64_t kFewRows = 64;

bool streams(Format format, int64_t M) {
    return is_float(format) || M <= kFewRows;
}

static_assert(kEachRows == kMostStreamed && kFewRows <= kMostByWgmma);

// What a launch is to know of the matrix.
struct Choice {
    bool by_wgmma;
    int64_t slices;  // of K

    Choice(const Matrix& w, int64_t M)
        : by_wgmma(has_wgmma() &&
                   (w.format == Format::bf16 || (w.format == Format::int8 && M > kFewRows))),
          slices(by_wgmma ? wgmma_slices(w) : slices_of(w)) {}
};

// Block m: row m; that of the first row also clears the counters.
template <Format format>
__device__ void prepare_block(const MatmulArgs& a, int64_t counters, const Choice& choice) {
    if (blockIdx.x >= a.M) return;
    prepare_row<format>(a, rows_in(a, choice.by_wgmma), blockIdx.x);
    if (blockIdx.x > 0) return;
    for (int64_t i = threadIdx.x; i < counters; i += kThreads)
        parts_in(a, choice.slices).counters[i] = 0;
}
template <Format format>
__global__ void prepare(MatmulArgs a, int64_t counters, Choice choice) {
    prepare_block<format>(a, counters, choice);
}
template <Format format>
__global__ void prepare_each(const MatmulArgs* each, int64_t counters, Choice choice) {
    prepare_block<format>(each[blockIdx.y], counters, choice);
}

// fp8's rows are prepared as bf16's.
constexpr Format format_of_rows(Format format) {
    return is_bf16(format) ? Format::bf16 : format;
}

template <Format format>
void multiply(const MatmulArgs& a) {
    const bool few = streams(format, a.M);
    const Choice choice(a.w, a.M);
    const int64_t counters = few ? panel_count(a.w) * streamed_tiles(a.M) : 0;
    launch(prepare<format_of_rows(format)>, dim3(unsigned(a.M)), kThreads, a, counters, choice);
    if constexpr (format == Format::bf16)
        if (choice.by_wgmma && few) return launch_few_by_wgmma<format>(a, choice.slices);
    if constexpr (format == Format::bf16 || format == Format::int8)
        if (choice.by_wgmma) return launch_many_by_wgmma<format>(a, choice.slices);
    if constexpr (!is_float(format))
        if (!few) return launch_tiles<format>(a);
    launch_streamed<format>(a);
}

template <Format format>
void multiply_all(const Matrix& w, const MatmulArgs* each, int64_t count, int64_t M) {
    const dim3 rows{unsigned(M), unsigned(count)};
    const Choice choice(w, M);
    launch(prepare_each<format_of_rows(format)>, rows, kThreads, each, panel_count(w), choice);
    if constexpr (format == Format::bf16)
        if (choice.by_wgmma) return launch_each_by_wgmma<format>(w, each, count, M, choice.slices);
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

size_t each_scratch_bytes(const Matrix& w, int64_t M) {
    return size_t(round_up(int64_t(matmul_scratch_bytes(w, M, 1)), 64));
}

size_t matmul_scratch_bytes(const Matrix& w, int64_t M, int) {
    const int64_t streamed = streams(w.format, M) ? M : kFewRows;
    return row_bytes(w, M) + part_bytes(w, streamed, Choice(w, streamed).slices);
}

const char* matmul_variant(Format format) {
    const char* names[] = {"cuda_f32",  "cuda_f16",  "cuda_bf16",
                           "cuda_int8", "cuda_int4", "cuda_fp8"};
    return names[int(format)];
}

}  // namespace genfast::cuda
