#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {
namespace {

// Scratch: of every block the means of its channels, then the squares around them; of every item
// and channel what is taken off and what is multiplied.
struct Statistics {
    int64_t blocks, C;
    float *blocks_at, *channels_at;

    GENFAST_MEMBER float* of_block(int64_t n, int64_t block) const {
        return blocks_at + (n * blocks + block) * 2 * C;
    }
    GENFAST_MEMBER float* of_item(int64_t n) const { return channels_at + n * 2 * C; }
};

Statistics statistics(const GroupNormArgs& a) {
    const int64_t blocks = (a.P + kNormPixels - 1) / kNormPixels;
    float* memory = reinterpret_cast<float*>(a.scratch);
    return {blocks, a.C, memory, memory + a.N * blocks * 2 * a.C};
}

// Of `rows` pixels, kVecs vectors of channels (the last one of n): the mean, the squares around it.
template <int kVecs>
GENFAST_INLINE void measure(const float* x, int64_t rows, int64_t C, int n, float* means,
                            float* squares) {
    Vec mean[kVecs], square[kVecs];
    for (int v = 0; v < kVecs; ++v) mean[v] = square[v] = vzero();
    auto load = [&](int64_t r, int v) GENFAST_MEMBER {
        const float* at = x + r * C + v * kLanes;
        return v == kVecs - 1 ? vload_n(at, n) : vload(at);
    };
    for (int64_t r = 0; r < rows; ++r)
        for (int v = 0; v < kVecs; ++v) mean[v] = vadd(mean[v], load(r, v));
    for (int v = 0; v < kVecs; ++v) mean[v] = vmul(mean[v], vset(1.0f / float(rows)));
    for (int64_t r = 0; r < rows; ++r)
        for (int v = 0; v < kVecs; ++v) {
            const Vec off = vsub(load(r, v), mean[v]);
            square[v] = vfma(off, off, square[v]);
        }
    for (int v = 0; v < kVecs; ++v) {
        vstore_n(means + v * kLanes, mean[v], v == kVecs - 1 ? n : kLanes);
        vstore_n(squares + v * kLanes, square[v], v == kVecs - 1 ? n : kLanes);
    }
}

void measure_block(const GroupNormArgs& a, int64_t n, int64_t block, float* out) {
    const int64_t first = block * kNormPixels;
    const int64_t rows = a.P - first < kNormPixels ? a.P - first : kNormPixels;
    const float* x = a.x + (n * a.P + first) * a.C;
    int64_t c = 0;
    for (; c + 4 * kLanes <= a.C; c += 4 * kLanes)
        measure<4>(x + c, rows, a.C, kLanes, out + c, out + a.C + c);
    for (; c < a.C; c += kLanes)
        measure<1>(x + c, rows, a.C, int(a.C - c < kLanes ? a.C - c : kLanes), out + c,
                   out + a.C + c);
}

// What the channels of a group lose and are multiplied with.
void finish_group(const GroupNormArgs& a, const Statistics& s, int64_t n, int64_t group) {
    const int64_t D = a.C / a.groups, first = group * D;
    const double count = double(a.P) * double(D);
    auto pixels = [&](int64_t block) GENFAST_MEMBER {
        const int64_t left = a.P - block * kNormPixels;
        return double(left < kNormPixels ? left : kNormPixels);
    };
    auto shift = [&](int64_t c) GENFAST_MEMBER { return a.shift ? a.shift[n * a.C + c] : 0.0f; };
    double sum = 0, squares = 0;
    for (int64_t block = 0; block < s.blocks; ++block) {
        const float* means = s.of_block(n, block);
        double part = 0;
        for (int64_t c = first; c < first + D; ++c) part += double(means[c]) + shift(c);
        sum += part * pixels(block);
    }
    const double mean = sum / count;
    for (int64_t block = 0; block < s.blocks; ++block) {
        const float* means = s.of_block(n, block);
        double part = 0, within = 0;
        for (int64_t c = first; c < first + D; ++c) {
            const double off = double(means[c]) + shift(c) - mean;
            part += off * off;
            within += means[a.C + c];
        }
        squares += part * pixels(block) + within;
    }
    const float factor = float(1 / __builtin_sqrt(squares / count + double(a.eps)));
    float *origin = s.of_item(n), *scale = origin + a.C;
    for (int64_t c = first; c < first + D; ++c) {
        origin[c] = float(mean - double(shift(c)));
        scale[c] = a.weight ? factor * a.weight[c] : factor;
    }
}

template <Activation kind>
void normalise(const GroupNormArgs& a, const Statistics& s, Range rows) {
    for (int64_t row = rows.begin; row < rows.end; ++row) {
        const float *origin = s.of_item(row / a.P), *scale = origin + a.C;
        const float* x = a.x + row * a.C;
        float* out = a.out + row * a.C;
        auto apply = [&](int64_t c, int n) GENFAST_MEMBER {
            const Vec off = vsub(vload_n(x + c, n), vload_n(origin + c, n));
            const Vec bias = a.bias ? vload_n(a.bias + c, n) : vzero();
            vstore_n(out + c, vactivate(kind, vfma(off, vload_n(scale + c, n), bias)), n);
        };
        int64_t c = 0;
        for (; c + kLanes <= a.C; c += kLanes) apply(c, kLanes);
        if (c < a.C) apply(c, int(a.C - c));
    }
}

}  // namespace

void group_norm(const GroupNormArgs& a, Team& team) {
    const Statistics s = statistics(a);
    Range blocks = share(a.N * s.blocks, team);
    for (int64_t i = blocks.begin; i < blocks.end; ++i)
        measure_block(a, i / s.blocks, i % s.blocks, s.of_block(i / s.blocks, i % s.blocks));
    team.sync();
    Range groups = share(a.N * a.groups, team);
    for (int64_t i = groups.begin; i < groups.end; ++i)
        finish_group(a, s, i / a.groups, i % a.groups);
    team.sync();
    Range rows = share(a.N * a.P, team);
    switch (a.activation) {
        case Activation::none:
            return normalise<Activation::none>(a, s, rows);
        case Activation::silu:
            return normalise<Activation::silu>(a, s, rows);
        default:
            normalise<Activation::none>(a, s, rows);
    }
    const int64_t begin = rows.begin * a.C, end = rows.end * a.C;
    for (int64_t i = begin; i < end; i += kLanes) {
        const int n = int(end - i < kLanes ? end - i : kLanes);
        vstore_n(a.out + i, vactivate(a.activation, vload_n(a.out + i, n)), n);
    }
}

size_t group_norm_scratch_bytes(const GroupNormArgs& a, int) {
    const int64_t blocks = (a.P + kNormPixels - 1) / kNormPixels;
    return size_t(a.N * (blocks + 1) * 2 * a.C) * sizeof(float);
}

}  // namespace genfast::GENFAST_ISA
