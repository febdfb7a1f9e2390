// The loops around the microkernels (tiles.h): pack activations, then token block -> panel -> tile.
#include "core/cpu_flags.h"
#include "kernels/matmul/packing.h"
#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

const Tiles& tiles_for(Format format, [[maybe_unused]] int64_t M) {
    switch (format) {
        case Format::f32:
            return f32_tiles;
        case Format::f16:
            return f16_tiles;
        case Format::bf16:
#if defined(GENFAST_AMX)
            return bf16_amx_tiles;
#elif defined(__AVX512F__)
            return cpu_has_avx512_bf16() ? bf16_dot_tiles : bf16_tiles;
#else
            return bf16_tiles;
#endif
        case Format::fp8:
#if defined(GENFAST_AMX)
            return fp8_amx_tiles;
#elif defined(__AVX512F__)
            return cpu_has_avx512_bf16() ? fp8_dot_tiles : fp8_tiles;
#else
            return fp8_tiles;
#endif
        case Format::int8:
#if defined(GENFAST_AMX)
            // The tokens of one tile of vector instructions wait for memory with either.
            if (M > int8_tiles.max_tokens) return int8_amx_tiles;
#elif defined(__aarch64__)
            if (cpu_has_i8mm()) return int8_mm_tiles;
#endif
            return int8_tiles;
        case Format::int4:
#if defined(__aarch64__)
            if (cpu_has_i8mm()) return int4_mm_tiles;
#endif
            return int4_tiles;
    }
    return f32_tiles;
}

// What a call is made of, once its activations are packed.
struct Call {
    const MatmulArgs& a;
    const Plan& p;
    const Tiles& kernels;
    const std::byte* acts;
    const float* x_scales;  // quantised formats, else null
    float* partial;         // this thread's sums of a panel
};

// Outputs lie a row apart, too far for the hardware to guess: they are fetched while the tile's
// sums are computed.
static void prefetch_outputs(const MatmulArgs& a, int64_t m, int rows, int64_t panel) {
    const int64_t row = out_row(a), n = panel * panel_outputs(a.w);
    for (int j = 0; j < rows; ++j)
        for (int64_t i = 0; i < panel_outputs(a.w); i += kLanes) {
            __builtin_prefetch(a.out + (m + j) * row + n + i, 1);
            if (a.residual && a.residual != a.out)
                __builtin_prefetch(a.residual + (m + j) * row + n + i);
        }
}

struct Epilogue {
    Vec w_scale, bias;
    VecI offset;  // added to integers
    bool integers, scaled, biased;

    GENFAST_MEMBER Vec operator()(const float* c, float x_scale) const {
        Vec sum = integers ? vfromi(iadd(iload(c), offset)) : vload(c);
        if (scaled) sum = vmul(sum, vmul(vset(x_scale), w_scale));
        return biased ? vadd(sum, bias) : sum;
    }
};

// Scales, bias, activation, gate and residual of `rows` tokens from m and the outputs of a panel.
__attribute__((noinline)) static void finish(const Call& call, const float* c, int64_t m, int rows,
                                             int64_t panel, const float* w_scales) {
    const MatmulArgs& a = call.a;
    const int64_t first = panel * panel_outputs(a.w), all = outputs(a.w);
    Epilogue half[2];
    for (int v = 0; v < 2; ++v) {
        // Of the output that lane 0 of this half belongs to; its bias lies F further for `up`.
        const int64_t n = a.w.gated ? first : first + v * kLanes;
        const int count = int(all - n < kLanes ? all - n : kLanes);
        const float* bias = a.bias ? a.bias + n + (a.w.gated && v ? all : 0) : nullptr;
        // Of activations that are 128 too large. int8's row sums follow its scales.
        const bool shifted = call.kernels.layout == Layout::u8_quads;
        const VecI excess = shifted ? ishl<7>(iload(w_scales + kPanelRows + v * kLanes)) : izero();
        half[v] = {w_scales ? vload(w_scales + v * kLanes) : vset(1),
                   bias && count > 0 ? vload_n(bias, count) : vzero(),
                   iadd(ixor(excess, iset(-1)), iset(1)),
                   a.w.format == Format::int8,
                   call.x_scales || w_scales,
                   bias != nullptr};
    }
    for (int v = 0; v < (a.w.gated ? 1 : 2); ++v) {
        const int64_t n = first + v * kLanes;
        const int count = int(all - n < kLanes ? all - n : kLanes);
        if (count <= 0) return;
        for (int j = 0; j < rows; ++j) {
            const float* sums = c + j * kPanelRows + v * kLanes;
            const float x_scale = call.x_scales ? call.x_scales[m + j] : 1;
            Vec y = half[v](sums, x_scale);
            if (a.w.gated)
                y = vactivate_gated(a.activation, y, half[1](sums + kLanes, x_scale));
            else if (a.activation != Activation::none)
                y = vactivate(a.activation, y);
            const int64_t at = (m + j) * out_row(a) + n;
            if (count == kLanes) {
                if (a.residual) y = vadd(y, vload(a.residual + at));
                vstore(a.out + at, y);
            } else {
                if (a.residual) y = vadd(y, vload_n(a.residual + at, count));
                vstore_n(a.out + at, y, count);
            }
        }
    }
}

// Some panels' sums of a block of tokens, tile by tile, over columns [k, k + columns).
static void multiply(const Call& call, Range tiles, Range panels, int64_t k, int64_t columns) {
    const MatmulArgs& a = call.a;
    const Plan& p = call.p;
    const bool expand = expands(call.kernels, p.tiles);
    const Tiles& kernels = expand ? *call.kernels.expanded : call.kernels;
    const Tile kernel = (k ? kernels.resume : kernels.tile)[p.MT];
    alignas(64) float expanded[kMostExpanded * kPanelRows];
    const size_t panel_size = panel_bytes(a.w.format, a.w.K);
    const size_t column_bytes = panel_size / size_t(p.K);  // of formats whose K is cut
    const bool whole = columns == p.K, done = k + columns == p.K;
    for (int64_t n = panels.begin; n < panels.end; ++n) {
        const std::byte* panel = a.w.data + size_t(n) * panel_size;
        const bool scaled = a.w.format == Format::int8 || a.w.format == Format::fp8;
        const float* w_scales = scaled ? int8::scales(panel, a.w.K) : nullptr;
        const std::byte* w = panel + size_t(k) * column_bytes;
        if (expand) {
            call.kernels.expand(w, columns, expanded);
            w = reinterpret_cast<const std::byte*>(expanded);
        }
        for (int64_t t = tiles.begin; t < tiles.end; ++t) {
            const int64_t m = t * p.MT;
            const int rows = int(a.M - m < p.MT ? a.M - m : p.MT);
            const int64_t at = (n - panels.begin) * p.block + t - tiles.begin;
            float* c = call.partial + (whole ? 0 : at * p.MT * kPanelRows);
            if (done && p.tiles > 1) prefetch_outputs(a, m, rows, n);
            kernel(w, call.acts + p.part(k, t), columns, c);
            if (done) finish(call, c, m, rows, n, w_scales);
        }
    }
}

static void multiply_together(const MatmulArgs& a, const Tiles& kernels, Team& team) {
    const Plan p = make_plan(kernels, a.w, a.M, team.count);
    const bool alone = a.M == 1;
    std::byte* packed = a.scratch + (alone ? p.private_bytes * size_t(team.index) : 0);
    float* scales = reinterpret_cast<float*>(packed + p.scales);
    float* partial =
        reinterpret_cast<float*>(a.scratch + p.partial + p.partial_bytes * size_t(team.index));
    float* rotated = partial + p.partial_bytes / sizeof(float) - p.rotated_floats;
    float* patch =
        a.patches && a.patches->rows ? a.patches->rows + team.index * kMaxTokens * a.w.K : nullptr;
    const std::byte* acts = packed;
    if (alone && kernels.layout == Layout::f32 && p.K == a.w.K && !a.patches) {
        acts = reinterpret_cast<const std::byte*>(a.x);  // as packed already
    } else if (alone) {
        pack(a, p, kernels.layout, 0, 1, 0, p.K, packed, scales, rotated, patch);
    } else if (p.tiles >= team.count) {
        Range mine = share(p.tiles, team);
        pack(a, p, kernels.layout, mine.begin, mine.end, 0, p.K, packed, scales, rotated, patch);
        team.sync();
    } else {
        Range mine = share(p.K, team, 2 * kChunk);
        pack(a, p, kernels.layout, 0, p.tiles, mine.begin, mine.end, packed,
             team.index == 0 ? scales : nullptr, rotated, patch);
        team.sync();
    }

    const Call call{a, p, kernels, acts, is_quantised(kernels.layout) ? scales : nullptr, partial};
    const int64_t panels = panel_count(a.w), groups = ceil_div(panels, p.panels);
    const int64_t jobs = groups * ceil_div(p.tiles, p.block);
    auto job = [&](int64_t i) {
        const int64_t tile = i / groups * p.block, panel = i % groups * p.panels;
        const Range tiles{tile, tile + p.block < p.tiles ? tile + p.block : p.tiles};
        const Range of_panels{panel, panel + p.panels < panels ? panel + p.panels : panels};
        for (int64_t k = 0; k < p.K; k += p.k_block)
            multiply(call, tiles, of_panels, k, p.K - k < p.k_block ? p.K - k : p.k_block);
    };
    if (kernels.begin) kernels.begin(p.MT);
    // Long jobs go to whoever is free; a few tokens' are over too soon for that to pay.
    if (p.tiles >= kDynamicTiles) {
        team.each_job(jobs, job);
    } else {
        Range mine = share(jobs, team);
        for (int64_t i = mine.begin; i < mine.end; ++i) job(i);
    }
    if (kernels.end) kernels.end();
}

static size_t scratch_apart(const Tiles& kernels, const Matrix& w, int64_t tiles,
                            const Jobs& jobs) {
    const int64_t most = jobs.most_apart() < tiles ? jobs.most_apart() : tiles;
    return make_plan(kernels, w, most * kernels.max_tokens, 1).bytes;
}

void matmul(const MatmulArgs& a, Team& team) {
    const Tiles& kernels = tiles_for(a.w.format, a.M);
    const int64_t tiles = ceil_div(a.M, kernels.max_tokens);
    const Jobs jobs(kernels, a.w, tiles, team.count);
    if (!jobs.count) return multiply_together(a, kernels, team);
    const size_t own = scratch_apart(kernels, a.w, tiles, jobs) * size_t(team.index);
    team.each_job(jobs.count, [&](int64_t i) {
        const int64_t first = tiles * i / jobs.count * kernels.max_tokens;
        const int64_t end = tiles * (i + 1) / jobs.count * kernels.max_tokens;
        MatmulArgs part = a;
        part.M = (end < a.M ? end : a.M) - first;
        part.out += first * out_row(a);
        if (a.residual) part.residual += first * out_row(a);
        part.scratch += own;
        Patches patches;
        if (a.patches) {
            patches = *a.patches;
            patches.first += first;
            if (patches.rows) patches.rows += team.index * kMaxTokens * a.w.K;
            part.patches = &patches;
        } else {
            part.x += first * x_row(a);
        }
        Team alone;
        multiply_together(part, kernels, alone);
    });
}

size_t matmul_scratch_bytes(const Matrix& w, int64_t M, int threads) {
    // Fewer tokens may be cut into other tiles, but never need more than these.
    const Tiles& kernels = tiles_for(w.format, M);
    const int64_t tiles = ceil_div(M < 1 ? 1 : M, kernels.max_tokens);
    const Jobs jobs(kernels, w, tiles, threads);
    const int64_t few = jobs.most_together(threads) < tiles ? jobs.most_together(threads) : tiles;
    const size_t one = make_plan(tiles_for(w.format, 1), w, 1, threads).bytes;
    const size_t together = make_plan(kernels, w, few * kernels.max_tokens, threads).bytes;
    const size_t apart = scratch_apart(kernels, w, tiles, jobs) * size_t(threads);
    const size_t many = together > apart ? together : apart;
    return one > many ? one : many;
}

const char* matmul_variant(Format format) {
    return tiles_for(format, INT64_MAX).variant;
}

}  // namespace genfast::GENFAST_ISA
