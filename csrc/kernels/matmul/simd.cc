// The loops around the microkernels (tiles.h): pack activations, then token block -> panel -> tile.
#include "core/cpu_flags.h"
#include "kernels/matmul/activations.h"
#include "kernels/matmul/plan.h"
#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

static const Tiles& tiles_for(Format format) {
    switch (format) {
        case Format::f32:
            return f32_tiles;
        case Format::f16:
            return f16_tiles;
        case Format::bf16:
#if defined(__AVX512F__)
            if (cpu_has_avx512_bf16()) return bf16_dot_tiles;
#endif
            return bf16_tiles;
        case Format::int8:
            return int8_tiles;
        case Format::int4:
            return int4_tiles;
    }
    return f32_tiles;
}

// Columns [begin, end) of the tokens of tiles [first, last); their scales too, unless null.
static void pack(const MatmulArgs& a, const Plan& p, Layout layout, int64_t first, int64_t last,
                 int64_t begin, int64_t end, std::byte* acts, float* scales) {
    for (int64_t t = first; t < last; ++t)
        for (int j = 0; j < p.MT; ++j) {
            const int64_t m = t * p.MT + j;
            const float* x = a.x + m * a.w.K;
            const int64_t K = m < a.M ? a.w.K : 0;  // tokens that fill up the last tile are zeros
            RowScale scale = is_quantised(layout) ? row_scale(x, K) : RowScale{1, 1};
            if (scales) scales[m] = scale.scale;
            for (int64_t k = begin; k < end; k += kChunk)
                pack_chunk(layout, x, k, K > k ? K : k, p.K, scale.inverse, j, p.MT,
                           acts + size_t(t) * p.tile_bytes);
        }
}

// Scales, bias, activation and residual of `rows` tokens from m and the 32 outputs from n.
static void finish(const MatmulArgs& a, const float* c, int64_t m, int rows, int64_t n,
                   const float* x_scales, const float* w_scales) {
    for (int v = 0; v < 2; ++v) {
        const int64_t column = n + v * kLanes;
        const int count = int(a.w.N - column < kLanes ? a.w.N - column : kLanes);
        if (count <= 0) return;
        const Vec w_scale = w_scales ? vload(w_scales + v * kLanes) : vset(1);
        const Vec bias = a.bias ? vload_n(a.bias + column, count) : vzero();
        for (int j = 0; j < rows; ++j) {
            Vec sum = vload(c + j * kPanelRows + v * kLanes);
            if (x_scales) sum = vmul(sum, vmul(vset(x_scales[m + j]), w_scale));
            if (a.bias) sum = vadd(sum, bias);
            if (a.activation != Activation::none) sum = vactivate(a.activation, sum);
            const int64_t at = (m + j) * a.w.N + column;
            if (a.residual) sum = vadd(sum, vload_n(a.residual + at, count));
            vstore_n(a.out + at, sum, count);
        }
    }
}

void matmul(const MatmulArgs& a, Team& team) {
    const Tiles& kernels = tiles_for(a.w.format);
    const Plan p = make_plan(kernels, a.w, a.M, team.count);
    const bool alone = a.M == 1;
    std::byte* packed = a.scratch + (alone ? p.private_bytes * size_t(team.index) : 0);
    float* scales = reinterpret_cast<float*>(packed + p.scales);
    float* partial =
        reinterpret_cast<float*>(a.scratch + p.partial + p.partial_bytes * size_t(team.index));
    const std::byte* acts = packed;
    if (alone && kernels.layout == Layout::f32 && p.K == a.w.K) {
        acts = reinterpret_cast<const std::byte*>(a.x);  // as packed already
    } else if (alone) {
        pack(a, p, kernels.layout, 0, 1, 0, p.K, packed, scales);
    } else if (p.tiles >= team.count) {
        Range mine = share(p.tiles, team);
        pack(a, p, kernels.layout, mine.begin, mine.end, 0, p.K, packed, scales);
        team.sync();
    } else {
        Range mine = share(p.K, team, 2 * kChunk);
        pack(a, p, kernels.layout, 0, p.tiles, mine.begin, mine.end, packed,
             team.index == 0 ? scales : nullptr);
        team.sync();
    }

    const size_t stride = panel_bytes(a.w.format, a.w.K);
    const bool per_row = a.w.format == Format::int8;
    const float* x_scales = per_row || a.w.format == Format::int4 ? scales : nullptr;
    const int64_t panels = panel_count(a.w.N), blocks = (p.tiles + p.block - 1) / p.block;
    const size_t column_bytes = kernels.resume[1] ? stride / size_t(p.K) : 0;  // dense formats only
    const size_t x_bytes = tile_bytes(kernels.layout, p.k_block, p.MT);
    auto run_job = [&](int64_t job) {
        const int64_t block = job / panels, index = job % panels;
        const std::byte* panel = a.w.data + size_t(index) * stride;
        const float* w_scales = per_row ? int8::scales(panel, a.w.K) : nullptr;
        const int64_t first = block * p.block;
        const int64_t last = first + p.block < p.tiles ? first + p.block : p.tiles;
        for (int64_t k = 0; k < p.K; k += p.k_block) {
            const int64_t columns = p.K - k < p.k_block ? p.K - k : p.k_block;
            const bool done = k + columns == p.K;
            const Tile kernel = (k ? kernels.resume : kernels.tile)[p.MT];
            for (int64_t t = first; t < last; ++t) {
                float* c = partial + (p.k_block < p.K ? (t - first) * p.MT * kPanelRows : 0);
                kernel(panel + size_t(k) * column_bytes,
                       acts + size_t(t) * p.tile_bytes + size_t(k / p.k_block) * x_bytes, columns,
                       c);
                const int64_t m = t * p.MT;
                if (done)
                    finish(a, c, m, int(a.M - m < p.MT ? a.M - m : p.MT), index * kPanelRows,
                           x_scales, w_scales);
            }
        }
    };
    // Long jobs go to whoever is free; a few tokens' are over too soon for that to pay.
    if (p.tiles >= kDynamicTiles) {
        team.each_job(blocks * panels, run_job);
    } else {
        Range mine = share(blocks * panels, team);
        for (int64_t job = mine.begin; job < mine.end; ++job) run_job(job);
    }
}

size_t matmul_scratch_bytes(const Matrix& w, int64_t M, int threads) {
    // Fewer tokens may be cut into other tiles, but never need more than these two.
    const Tiles& kernels = tiles_for(w.format);
    int64_t full = round_up(M < 1 ? 1 : M, kernels.max_tokens);
    size_t one = make_plan(kernels, w, 1, threads).bytes;
    size_t many = make_plan(kernels, w, full, threads).bytes;
    return one > many ? one : many;
}

const char* matmul_variant(Format format) {
    return tiles_for(format).variant;
}

}  // namespace genfast::GENFAST_ISA
