// What image programs are made of: convolutions, pooling, group norm, attention without a cache,
// modulation, and what only moves numbers.
#include <algorithm>
#include <cmath>

#include "core/buffer.h"
#include "kernels/check.h"
#include "program/packed_matrix.h"

namespace genfast {
namespace {

PackedMatrix random_weight(Check& c, Format format, int64_t N, int64_t K) {
    Floats numbers = c.numbers.floats(N * K);
    const std::vector<WeightSource> sources = {{numbers.data(), DType::f32, N, K, false}};
    return PackedMatrix::pack(format, sources, false, shared_pool(1), c.ref);
}

double largest(const Floats& x) {
    double most = 0;
    for (float v : x) most = std::max(most, std::fabs(double(v)));
    return most;
}

// A chain of K products of numbers of at most 2, or exact sums of integers: `roundings` of half an
// ulp of the sum of magnitudes, and a few in what follows.
double sum_bound(int64_t K, double x, double w) {
    return 0.5 * kEps * double(K + 8) * double(K) * x * w;
}

// What a convolution makes of random numbers, on one thread and on two, and by the reference.
struct Convolved {
    Floats got[2], want;
    double input;  // the largest

    void check(Check& c, const char* op, const std::string& of, double bound) const {
        const std::string what = cat(op, " ", of);
        c.same(what + " on two threads", got[0], got[1]);
        c.near(what, got[0], want, [&](size_t) { return bound; });
        c.digest(op, got[0]);
    }
};

// op, scratch_bytes: members of Kernels.
template <class Args, class Op, class Bytes>
Convolved convolve(Check& c, Args a, int64_t pixels, int64_t outputs, Op op, Bytes scratch_bytes) {
    const Floats x = c.numbers.floats(a.N * a.H * a.W * a.C), bias = c.numbers.floats(outputs);
    const Floats residual = c.numbers.floats(pixels * outputs);
    const Floats empty(residual.size());
    Convolved made{{empty, empty}, empty, largest(x)};
    a.x = x.data();
    a.bias = bias.data();
    a.residual = residual.data();
    a.activation = Activation::relu;
    for (int threads : {1, 2}) {
        Buffer scratch((c.fast.*scratch_bytes)(a, threads));
        a.scratch = scratch.data();
        a.out = made.got[threads - 1].data();
        run(c.fast.*op, a, threads);
    }
    a.out = made.want.data();
    run(c.ref.*op, a);
    return made;
}

void check_conv2d(Check& c, Format format) {
    Conv2dArgs a{};
    a.N = c.numbers.integer(1, 2);
    a.H = c.numbers.integer(3, 9);
    a.W = c.numbers.integer(3, 9);
    a.C = c.numbers.integer(1, 40);
    a.kernel_h = c.numbers.integer(1, 3);
    a.kernel_w = c.numbers.integer(1, 3);
    a.stride = c.numbers.integer(1, 2);
    a.top = c.numbers.integer(0, 1);
    a.left = c.numbers.integer(0, 1);
    a.out_h = (a.H + 2 * a.top - a.kernel_h) / a.stride + 1;
    a.out_w = (a.W + 2 * a.left - a.kernel_w) / a.stride + 1;
    const int64_t O = c.numbers.integer(1, 40), K = a.kernel_h * a.kernel_w * a.C;
    const PackedMatrix w = random_weight(c, format, O, K);
    a.w = w.view();
    const Convolved made = convolve(c, a, a.N * a.out_h * a.out_w, O, &Kernels::conv2d,
                                    &Kernels::conv2d_scratch_bytes);
    // int8 rotates weights: by no more than 8 of them do they grow.
    const double bound = sum_bound(K, made.input, 2 * (format == Format::int8 ? 8 : 1)) + 4 * kEps;
    made.check(c, "conv2d", cat(traits(format).name, " K ", K), bound);
}

void check_winograd_conv2d(Check& c, Format format) {
    WinogradConv2dArgs a{};
    a.N = c.numbers.integer(1, 2);
    a.H = c.numbers.integer(1, 30);
    a.W = c.numbers.integer(1, 30);
    a.C = 16 * c.numbers.integer(1, 3);
    a.O = 16 * c.numbers.integer(1, 4);
    const int64_t rows = kWinogradPlaces * round_up(a.O, kPanelRows);
    const PackedMatrix w = random_weight(c, format, rows, a.C);
    a.w = w.view();
    const Convolved made = convolve(c, a, a.N * a.H * a.W, a.O, &Kernels::winograd_conv2d,
                                    &Kernels::winograd_conv2d_scratch_bytes);
    // A transformed pixel is a sum of four, the same in both; nine sums make one of the output.
    const double sum = sum_bound(a.C, 4 * made.input, 2 * (format == Format::int8 ? 8 : 1));
    const double bound = 9 * sum * 1.5 + 8 * kEps * (1 + largest(made.want));
    made.check(c, "winograd_conv2d", cat(traits(format).name, " C ", a.C), bound);
}

void check_conv_transpose2d(Check& c) {
    ConvTranspose2dArgs a{};
    a.N = c.numbers.integer(1, 2);
    a.H = c.numbers.integer(1, 6);
    a.W = c.numbers.integer(1, 6);
    a.kernel = c.numbers.integer(2, 4);
    a.stride = c.numbers.integer(1, 3);
    a.padding = c.numbers.integer(0, a.kernel == 2 ? 0 : 1);
    const int64_t C = c.numbers.integer(1, 40), O = c.numbers.integer(1, 40);
    const PackedMatrix w = random_weight(c, Format::f32, a.kernel * a.kernel * O, C);
    const Floats x = c.numbers.floats(a.N * a.H * a.W * C), bias = c.numbers.floats(O);
    a.x = x.data();
    a.w = w.view();
    a.bias = bias.data();
    a.activation = Activation::leaky_relu;
    Floats got(size_t(a.N * a.side(a.H) * a.side(a.W) * O)), want(got.size());
    Buffer scratch(c.fast.conv_transpose2d_scratch_bytes(a, 2));
    a.scratch = scratch.data();
    a.out = got.data();
    run(c.fast.conv_transpose2d, a, 2);
    a.out = want.data();
    run(c.ref.conv_transpose2d, a);
    const double bound = sum_bound(C * a.kernel * a.kernel, 2, 2) + 4 * kEps;
    c.near("conv_transpose2d", got, want, [&](size_t) { return bound; });
    c.digest("conv_transpose2d", got);
}

void check_group_norm(Check& c) {
    GroupNormArgs a{};
    a.N = c.numbers.integer(1, 2);
    a.P = c.numbers.integer(1, 200);
    a.groups = c.numbers.integer(1, 5);
    a.C = a.groups * c.numbers.integer(1, 20);
    const Floats x = c.numbers.floats(a.N * a.P * a.C), shift = c.numbers.floats(a.N * a.C);
    const Floats weight = c.numbers.floats(a.C), bias = c.numbers.floats(a.C);
    a.x = x.data();
    a.weight = weight.data();
    a.bias = bias.data();
    a.shift = shift.data();
    a.eps = 0.1f;  // a group of one number has no variance
    a.activation = Activation::silu;
    Floats got(x.size()), want(x.size());
    Buffer scratch(c.fast.group_norm_scratch_bytes(a, 2));
    a.scratch = scratch.data();
    a.out = got.data();
    run(c.fast.group_norm, a, 2);
    a.out = want.data();
    run(c.ref.group_norm, a);
    // Values of at most 4 over a deviation of 0.3 at least, off by some seventy roundings.
    c.near("group_norm", got, want, [&](size_t) { return 75 * kEps * 2 * 4 / 0.3; });
    c.digest("group_norm", got);
}

void check_full_attention(Check& c) {
    FullAttentionArgs a{};
    a.N = c.numbers.integer(1, 2);
    a.Tq = c.numbers.integer(1, 60);
    a.Tk = c.numbers.integer(1, 400);  // up to three blocks
    a.H = c.numbers.integer(1, 3);
    a.D = c.numbers.integer(1, 40);
    a.scale = 0.3f;
    a.causal = c.numbers.integer(0, 1);
    a.bias_per_head = c.numbers.integer(0, 1);
    const int64_t E = a.H * a.D;
    const Floats q = c.numbers.floats(a.N * a.Tq * E), k = c.numbers.floats(a.N * a.Tk * E);
    const Floats v = c.numbers.floats(a.N * a.Tk * E), mask = c.numbers.floats(a.N * a.Tk);
    const Floats bias = c.numbers.floats((a.bias_per_head ? a.H : 1) * a.Tq * a.Tk);
    Floats got(q.size()), want(q.size());
    Buffer scratch(c.fast.full_attention_scratch_bytes(a, 2));  // sizes alone are known then
    a.scratch = scratch.data();
    a.q = q.data();
    a.k = k.data();
    a.v = v.data();
    a.bias = bias.data();
    a.mask = mask.data();
    a.out = got.data();
    run(c.fast.full_attention, a, 2);
    a.out = want.data();
    run(c.ref.full_attention, a);
    const double scores = sum_bound(a.D, 2, 2) * 0.3 + 8 * kEps;
    c.near("full_attention", got, want,
           [&](size_t) { return 2 * (2 * scores + double(a.Tk + 8) * kEps); });
    c.digest("full_attention", got);
}

void check_modulate(Check& c) {
    const int64_t N = c.numbers.integer(1, 3), P = c.numbers.integer(1, 9);
    const int64_t C = c.numbers.integer(1, 50);
    const Floats x = c.numbers.floats(N * P * C), conditions = c.numbers.floats(N * 2 * C);
    const Floats residual = c.numbers.floats(N * P * C), noise = c.numbers.floats(P);
    Floats got(x.size()), want(x.size());
    ModulateArgs a{x.data(),
                   conditions.data(),
                   conditions.data() + C,
                   residual.data(),
                   got.data(),
                   N,
                   P,
                   C,
                   2 * C,
                   true,
                   noise.data(),
                   Activation::leaky_relu};
    run(c.fast.modulate, a, 2);
    a.out = want.data();
    run(c.ref.modulate, a);
    c.near("modulate", got, want, [&](size_t) { return 16 * kEps; });
    c.digest("modulate", got);

    const Floats rows = c.numbers.floats(P * C);
    AddArgs add{x.data(), rows.data(), got.data(), N * P, C, P};
    run(c.fast.add, add, 2);
    add.out = want.data();
    run(c.ref.add, add);
    c.same("add", got, want);
}

void check_depthwise_conv2d(Check& c) {
    DepthwiseConv2dArgs a{};
    a.N = c.numbers.integer(1, 2);
    a.H = c.numbers.integer(2, 6);
    a.W = c.numbers.integer(2, 6);
    a.C = c.numbers.integer(1, 40);
    a.kernel_h = c.numbers.integer(1, 4);
    a.kernel_w = c.numbers.integer(1, 4);
    a.stride = c.numbers.integer(1, 2);
    a.up = c.numbers.integer(1, 2);
    a.top = c.numbers.integer(1, 2);
    a.left = c.numbers.integer(1, 2);
    a.out_h = (a.H * a.up + 2 * a.top - a.kernel_h) / a.stride + 1;
    a.out_w = (a.W * a.up + 2 * a.left - a.kernel_w) / a.stride + 1;
    a.shared = c.numbers.integer(0, 1);
    a.activation = Activation::leaky_relu;
    const int64_t taps = a.kernel_h * a.kernel_w;
    const Floats x = c.numbers.floats(a.N * a.H * a.W * a.C), bias = c.numbers.floats(a.C);
    const Floats w = c.numbers.floats(taps * (a.shared ? 1 : a.C));
    a.x = x.data();
    a.w = w.data();
    a.bias = bias.data();
    Floats got(size_t(a.N * a.out_h * a.out_w * a.C)), want(got.size());
    a.out = got.data();
    run(c.fast.depthwise_conv2d, a, 2);
    a.out = want.data();
    run(c.ref.depthwise_conv2d, a);
    const double bound = sum_bound(taps, 2, 2) + 4 * kEps;
    c.near("depthwise_conv2d", got, want, [&](size_t) { return bound; });
    c.digest("depthwise_conv2d", got);
}

void check_max_pool2d(Check& c) {
    MaxPool2dArgs a{};
    a.N = c.numbers.integer(1, 2);
    a.H = c.numbers.integer(3, 7);
    a.W = c.numbers.integer(3, 7);
    a.C = c.numbers.integer(1, 40);
    a.size = c.numbers.integer(1, 3);
    const Floats x = c.numbers.floats(a.N * a.H * a.W * a.C);
    a.x = x.data();
    Floats got(size_t(a.N * (a.H / a.size) * (a.W / a.size) * a.C)), want(got.size());
    a.out = got.data();
    run(c.fast.max_pool2d, a, 2);
    a.out = want.data();
    run(c.ref.max_pool2d, a);
    c.same("max_pool2d", got, want);
}

void check_rearrange(Check& c) {
    const int64_t N = c.numbers.integer(1, 2), H = c.numbers.integer(1, 5);
    const int64_t W = c.numbers.integer(1, 5), C = c.numbers.integer(1, 20);
    const int64_t factor = c.numbers.integer(1, 3);
    const Floats x = c.numbers.floats(N * H * W * C * factor * factor);
    Floats got(x.size()), want(x.size());
    UpsampleArgs up{x.data(), got.data(), N, H, W, C, factor};
    run(c.fast.upsample, up, 2);
    up.out = want.data();
    run(c.ref.upsample, up);
    c.same("upsample", got, want);
    for (bool last : {false, true}) {
        PixelShuffleArgs shuffle{x.data(), got.data(), N, H, W, C, factor, last};
        run(c.fast.pixel_shuffle, shuffle, 2);
        shuffle.out = want.data();
        run(c.ref.pixel_shuffle, shuffle);
        c.same("pixel_shuffle", got, want);
    }
    PlaceArgs place{x.data(), got.data(), N, H * W, C, H * W * C, C, H * W * C, C};
    run(c.fast.place, place, 2);
    place.out = want.data();
    run(c.ref.place, place);
    c.same("place", got, want);
}

}  // namespace

void check_images(Check& c) {
    for (Format format : {Format::f32, Format::int8}) {
        for (int i = 0; i < 6; ++i) check_conv2d(c, format);
        for (int i = 0; i < 3; ++i) check_winograd_conv2d(c, format);
    }
    for (int i = 0; i < 6; ++i) {
        check_conv_transpose2d(c);
        check_group_norm(c);
        check_full_attention(c);
        check_modulate(c);
        check_depthwise_conv2d(c);
        check_max_pool2d(c);
        check_rearrange(c);
    }
}

}  // namespace genfast
