// Few rows by a matrix that streams from memory once; more rows go through it 16 at a time.
//
// The matrix lies in the CPU's panels (quant/format.h), which suit a GPU as they are: a panel's 32
// rows are a warp's lanes, so each lane owns an output, every load of the warp is 128 bytes side by
// side, and no lane needs another's sum. So one packed cache serves both, weights go to the device
// as they lie in its map, and int8 and int4 are the CPU's integers.
//
// K is cut into slices, a function of N and K alone: within one, sums run as on the CPU; slices are
// added in ascending order. Blocks of a panel leave their sums in scratch, and whichever comes last
// adds them up.
#include "kernels/matmul/cuda_rows.h"

#include "cuda/activation.h"
#include "kernels/matmul/cuda_each.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

constexpr int64_t kEnoughBlocks = 264;  // two for each of an H200's 132 multiprocessors
constexpr int64_t kLeastSteps = 8;      // of a slice
constexpr int kMostRows = 16;

// Blocks that share a panel: each warp of each of them has a slice of K.
int64_t blocks_of_a_panel(const Matrix& w) {
    const int64_t wanted = (kEnoughBlocks + panel_count(w) - 1) / panel_count(w);
    const int64_t most = steps_of(w) / (kWarps * kLeastSteps);
    return wanted < most ? wanted : most < 1 ? 1 : most;
}

// Scratch: the rows (cuda_rows.h), then of each block the sums of its tile, then a counter for each
// tile of the result.
struct Sums {
    uint32_t* parts;
    unsigned* counters;
};

__host__ __device__ inline int64_t tiles_of(int64_t M) {
    return (M + kMostRows - 1) / kMostRows;
}

__host__ __device__ inline Sums sums_in(const MatmulArgs& a, int64_t blocks) {
    std::byte* at = a.scratch + row_bytes(a.w, a.M);
    const int64_t parts = blocks * panel_count(a.w) * kPanelRows * tiles_of(a.M) * kMostRows;
    uint32_t* first = reinterpret_cast<uint32_t*>(at);
    return {first, reinterpret_cast<unsigned*>(first + parts)};
}

__device__ inline uint32_t bits_of(float x) {
    return f32_to_bits(x);
}
__device__ inline uint32_t bits_of(int32_t x) {
    return uint32_t(x);
}
__device__ inline void add_bits(float& sum, uint32_t bits) {
    sum += bits_to_f32(bits);
}
__device__ inline void add_bits(int32_t& sum, uint32_t bits) {
    sum += int32_t(bits);
}

// The lane's column of row m: scales, bias, activation, up, residual.
template <class Sum>
__device__ void finish(const MatmulArgs& a, const Rows& rows, int64_t panel, int64_t m, Sum sum) {
    const std::byte* base = a.w.data + size_t(panel) * panel_bytes(a.w.format, a.w.K);
    float y = float(sum);
    if (a.w.format == Format::int8)
        y *= rows.scales[m] * int8::scales(base, a.w.K)[lane()];
    else if (a.w.format == Format::int4)
        y *= rows.scales[m];
    const int64_t n = row_at(a.w, {panel, lane()});
    if (a.bias && n >= 0) y += a.bias[n];
    const float up = __shfl_sync(~0u, y, (lane() + kPanelRows / 2) % kWarp);
    y = a.w.gated ? activate_gated(a.activation, y, up) : activate(a.activation, y);
    if (n < 0 || n >= outputs(a.w)) return;
    const int64_t at = m * out_row(a) + n;
    a.out[at] = a.residual ? y + a.residual[at] : y;
}

// Block (p, b): panel p, the b-th part of K, rows [tile * M, tile * M + M).
template <Format format, int M>
__device__ void multiply_tile(const MatmulArgs& a, int64_t tile) {
    using Sum = typename Step<format>::Sum;
    __shared__ uint32_t of_warps[kWarps][M][kWarp];
    __shared__ bool last;
    const int64_t panel = blockIdx.x, first = tile * M, tiles = (a.M + M - 1) / M;
    const int64_t part = blockIdx.y, parts = gridDim.y;
    const Rows rows = rows_in(a);

    Sum sum[M] = {};
    const int64_t steps = steps_of(a.w), slices = parts * kWarps, slice = part * kWarps + warp();
    const std::byte* base = a.w.data + size_t(panel) * panel_bytes(format, a.w.K);
    for (int64_t s = steps * slice / slices; s < steps * (slice + 1) / slices; ++s)
        Step<format>::template add<M>(a.w, base, rows, first, s, sum);

    for (int m = 0; m < M; ++m) of_warps[warp()][m][lane()] = bits_of(sum[m]);
    __syncthreads();
    const Sums sums = sums_in(a, parts);
    const int64_t columns = int64_t(gridDim.x) * kWarp, column = panel * kWarp + lane();
    auto place = [&](int64_t of, int m) {
        return sums.parts + (of * tiles * M + first + m) * columns + column;
    };
    for (int m = warp(); m < M; m += kWarps) {
        Sum total = {};
        for (int w = 0; w < kWarps; ++w) add_bits(total, of_warps[w][m][lane()]);
        if (parts > 1)
            *place(part, m) = bits_of(total);
        else if (first + m < a.M)
            finish(a, rows, panel, first + m, total);
    }
    if (parts == 1) return;

    __threadfence();  // the sums are there before the counter says so
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned* counter = sums.counters + panel * tiles + tile;
        last = atomicAdd(counter, 1u) + 1 == unsigned(parts);
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    for (int m = warp(); m < M && first + m < a.M; m += kWarps) {
        Sum total = {};
        for (int64_t of = 0; of < parts; ++of) add_bits(total, *place(of, m));
        finish(a, rows, panel, first + m, total);
    }
}

// Block m: row m; that of the first row also clears the counters.
__device__ void prepare_block(const MatmulArgs& a, int64_t blocks) {
    if (blockIdx.x >= a.M) return;
    prepare_row(a, rows_in(a), blockIdx.x);
    if (blockIdx.x > 0) return;
    unsigned* counters = sums_in(a, blocks).counters;
    const int64_t tiles = panel_count(a.w) * tiles_of(a.M);
    for (int64_t i = threadIdx.x; i < tiles; i += kThreads) counters[i] = 0;
}

__global__ void prepare(MatmulArgs a, int64_t blocks) {
    prepare_block(a, blocks);
}
__global__ void prepare_each(const MatmulArgs* each, int64_t blocks) {
    prepare_block(each[blockIdx.y], blocks);
}

template <Format format, int M>
__global__ void multiply(MatmulArgs a) {
    multiply_tile<format, M>(a, blockIdx.z);
}
template <Format format, int M>
__global__ void multiply_each(const MatmulArgs* each) {
    const MatmulArgs a = each[blockIdx.z];
    if (a.M > 0) multiply_tile<format, M>(a, 0);
}

template <Format format>
void multiply_all(const MatmulArgs& a) {
    const int64_t blocks = blocks_of_a_panel(a.w);
    launch(prepare, dim3(unsigned(a.M)), kThreads, a, blocks);
    dim3 grid(unsigned(panel_count(a.w)), unsigned(blocks));
    if (a.M == 1) return launch(multiply<format, 1>, grid, kThreads, a);
    if (a.M <= 4) return launch(multiply<format, 4>, grid, kThreads, a);
    grid.z = unsigned(tiles_of(a.M));
    launch(multiply<format, kMostRows>, grid, kThreads, a);
}

template <Format format>
void multiply_all(const MatmulArgs* each, dim3 grid, int64_t M) {
    if (M == 1) return launch(multiply_each<format, 1>, grid, kThreads, each);
    launch(multiply_each<format, kMostRows>, grid, kThreads, each);
}
static_assert(kEachRows == kMostRows);

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
    }
}

}  // namespace

void matmul(const MatmulArgs& a, Team& team) {
    if (team.index == 0) with_format(a.w.format, [&]<Format format>() { multiply_all<format>(a); });
}

void matmul_each(const Matrix& w, const MatmulArgs* each, int64_t count, int64_t M) {
    const int64_t blocks = blocks_of_a_panel(w);
    for (; count > 0; count -= kEachAtOnce, each += kEachAtOnce) {
        const unsigned now = unsigned(count < kEachAtOnce ? count : kEachAtOnce);
        launch(prepare_each, dim3(unsigned(M), now), kThreads, each, blocks);
        const dim3 grid(unsigned(panel_count(w)), unsigned(blocks), now);
        with_format(w.format, [&]<Format format>() { multiply_all<format>(each, grid, M); });
    }
}

size_t each_scratch_bytes(const Matrix& w, int64_t M) {
    return size_t(round_up(int64_t(matmul_scratch_bytes(w, M, 1)), 64));
}

size_t matmul_scratch_bytes(const Matrix& w, int64_t M, int) {
    const int64_t parts = blocks_of_a_panel(w) * kPanelRows * kMostRows;
    return row_bytes(w, M) + size_t(panel_count(w) * tiles_of(M) * (parts + 1)) * sizeof(uint32_t);
}

const char* matmul_variant(Format format) {
    const char* names[] = {"cuda_f32", "cuda_f16", "cuda_bf16", "cuda_int8", "cuda_int4"};
    return names[int(format)];
}

}  // namespace genfast::cuda
