// What works row by row or number by number: activations, norms, softmax, rope, embed; and probe.
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/check.h"
#include "program/packed_matrix.h"

namespace genfast {
namespace {

constexpr Activation kActivations[] = {
    Activation::none,       Activation::relu,      Activation::silu,
    Activation::gelu,       Activation::gelu_tanh, Activation::quick_gelu,
    Activation::leaky_relu, Activation::relu2,     Activation::sigmoid};

// The relative error of an activation. An exponent's roundings, and that of a constant in it, are
// half an ulp of it each; they become a relative error of the exponential. What else there is, is
// rounded a few times.
double activation_error(Activation kind, double x) {
    switch (kind) {
        case Activation::silu:
        case Activation::sigmoid:
            return (4 + std::fabs(x)) * kEps;
        case Activation::gelu:
            return (5 + 0.75 * x * x) * kEps;
        case Activation::gelu_tanh:
            return (4 + 2.5 * std::fabs(1.59576912 * (x + 0.044715 * x * x * x))) * kEps;
        case Activation::quick_gelu:
            return (4 + 1.8 * std::fabs(x)) * kEps;
        case Activation::leaky_relu:
        case Activation::relu2:
            return kEps;
        default:
            return 0;
    }
}

// Far below zero activations keep a last value of about -1e-36.
constexpr double kLastValue = 1e-35;

void check_activation(Check& c) {
    for (Activation kind : kActivations) {
        Floats x = c.numbers.floats(c.numbers.integer(1, 700), 5);
        for (size_t i = 0; i < x.size(); i += 5) x[i] *= 1e-3f;
        Floats got(x.size()), want(x.size());
        run(c.fast.activation, ActivationArgs{x.data(), got.data(), int64_t(x.size()), kind}, 2);
        run(c.ref.activation, ActivationArgs{x.data(), want.data(), int64_t(x.size()), kind});
        c.near(cat("activation ", int(kind)), got, want, [&](size_t i) {
            return (activation_error(kind, x[i]) + kEps) * std::fabs(want[i]) + kLastValue;
        });
        c.digest("activation", got);

        const Floats ends = {0.0f, -0.0f, 1e4f, 3e38f, -1e4f, -3e38f, INFINITY, NAN};
        Floats y(ends.size());
        run(c.fast.activation, ActivationArgs{ends.data(), y.data(), int64_t(y.size()), kind});
        const float zero = kind == Activation::sigmoid ? 0.5f : 0;
        auto end = [&](float of) {
            return kind == Activation::sigmoid ? 1 : kind == Activation::relu2 ? of * of : of;
        };
        c.expect(y[0] == zero && y[1] == zero && y[2] == end(1e4f) && y[3] == end(3e38f) &&
                     y[6] == end(INFINITY) && std::isnan(y[7]),
                 cat("the ends of activation ", int(kind)));
    }
}

void check_bound(Check& c) {
    Floats x = c.numbers.floats(c.numbers.integer(1, 700), 20), got(x.size()), want(x.size());
    for (size_t i = 0; i < x.size(); i += 5) x[i] *= 1e-3f;
    for (bool soft : {false, true}) {
        BoundArgs args{x.data(), got.data(), int64_t(x.size()), 7.5f, soft};
        run(c.fast.bound, args, 2);
        args.out = want.data();
        run(c.ref.bound, args);
        c.near(cat("bound, soft ", soft), got, want, [&](size_t i) {  // a dozen roundings
            return soft ? 12 * kEps * std::fabs(want[i]) : 0;
        });
        c.digest("bound", got);
    }
}

void check_swiglu(Check& c) {
    for (Activation kind : kActivations) {
        const int64_t T = c.numbers.integer(1, 5), F = c.numbers.integer(1, 300);
        Floats x = c.numbers.floats(T * 2 * F, 4), got(size_t(T * F)), want(size_t(T * F));
        run(c.fast.swiglu, SwigluArgs{x.data(), got.data(), T, F, kind}, 2);
        run(c.ref.swiglu, SwigluArgs{x.data(), want.data(), T, F, kind});
        c.near(cat("swiglu ", int(kind)), got, want, [&](size_t i) {
            const int64_t t = int64_t(i) / F, f = int64_t(i) % F;
            const double error = activation_error(kind, x[size_t(t * 2 * F + f)]);
            return (error + 2 * kEps) * std::fabs(want[i]) + kLastValue * 10;
        });
        c.digest("swiglu", got);
    }
}

void check_softmax(Check& c, int64_t T, int64_t V) {
    for (bool log : {false, true}) {
        Floats x = c.numbers.floats(T * V, c.numbers.integer(1, 10));
        if (V > 3) x[2] = -INFINITY;
        Floats got(x.size()), want(x.size());
        run(c.fast.softmax, SoftmaxArgs{x.data(), got.data(), T, V, log}, 2);
        run(c.ref.softmax, SoftmaxArgs{x.data(), want.data(), T, V, log});
        c.digest("softmax", got);
        for (int64_t t = 0; t < T; ++t) {
            const float* row = x.data() + t * V;
            const double top = *std::max_element(row, row + V);
            double sum = 0, mean = 0;
            for (int64_t v = 0; v < V; ++v) {
                const double e = std::exp(row[v] - top);
                sum += e;
                if (e > 0) mean += e * (top - row[v]);
            }
            Floats g(got.begin() + t * V, got.begin() + (t + 1) * V);
            Floats w(want.begin() + t * V, want.begin() + (t + 1) * V);
            if (V > 3 && t == 0) {
                c.expect(g[2] == w[2], "a masked logit");
                g[2] = w[2] = 0;
            }
            // x - max is rounded (an error of the exponent), exp is within 2 ulp; the sum adds
            // blocks of 1024 in 32 steps and 5: below 20 ulp, and the mean error of its terms.
            c.near(cat("softmax ", T, " x ", V, log ? ", log" : ""), g, w, [&](size_t i) {
                const double away = std::fabs(row[i] - top);
                const double ulps = (std::isfinite(away) ? away / 2 : 0) + 24 + mean / sum / 2;
                if (log) return (ulps + std::fabs(w[i]) + std::log(sum)) * kEps;
                return ulps * kEps * w[i] + 1e-37;
            });
        }
    }
}

void check_norms(Check& c, int64_t T, int64_t E) {
    Floats x = c.numbers.floats(T * E, 3), weight = c.numbers.floats(E), bias = c.numbers.floats(E);
    Floats got(x.size()), want(x.size());
    const std::string what = cat("norm of ", T, " x ", E);
    run(c.fast.rms_norm, RmsNormArgs{x.data(), weight.data(), got.data(), T, E, 1e-5f}, 2);
    run(c.ref.rms_norm, RmsNormArgs{x.data(), weight.data(), want.data(), T, E, 1e-5f});
    c.near(what, got, want, [&](size_t i) {  // a chain of squares: half its error in the root
        return (double(E) / 2 + 4) * kEps * std::fabs(want[i]) + 1e-30;
    });
    c.digest("rms_norm", got);

    // Two heads of E from the second column on, and a column after them: each as if alone.
    const int64_t columns = 2 * E + 2;
    Floats heads = c.numbers.floats(T * columns, 3), both = c.numbers.floats(2 * E);
    Floats grouped(heads.size()), alone(static_cast<size_t>(E));
    run(c.fast.rms_norm,
        RmsNormArgs{heads.data(), both.data(), grouped.data(), T, E, 1e-5f, 2, columns, 1}, 2);
    for (int64_t t = 0; t < T; ++t) {
        const float* row = heads.data() + t * columns;
        Floats expected(row, row + columns);
        for (int64_t at : {int64_t(0), E}) {
            run(c.fast.rms_norm,
                RmsNormArgs{row + 1 + at, both.data() + at, alone.data(), 1, E, 1e-5f});
            std::copy(alone.begin(), alone.end(), expected.begin() + 1 + at);
        }
        c.same(cat("heads, ", what),
               Floats(grouped.begin() + t * columns, grouped.begin() + (t + 1) * columns),
               expected);
    }

    for (float& value : x) value += 300;
    for (const float* shift : {static_cast<const float*>(bias.data()), (const float*)nullptr}) {
        LayerNormArgs args{x.data(), weight.data(), shift, got.data(), T, E, 1e-5f};
        run(c.fast.layer_norm, args, 2);
        args.out = want.data();
        run(c.ref.layer_norm, args);
        // The sums have up to n additions a lane. Centred values are off by n roundings of a value
        // near the row's spread; the deviation by (n + 4) / 2 roundings.
        const double n = double(E) / 64 + 6, spread = std::sqrt(double(E));
        c.near(cat("layer ", what), got, want, [&](size_t i) {
            const size_t e = i % size_t(E);
            const double normal =
                weight[e] ? std::fabs((want[i] - (shift ? shift[e] : 0)) / weight[e]) : 0;
            const double error =
                (normal + kEps) * (n / 2 + 4) + std::min(spread, 9.0) * (n / 2 + 2);
            return kEps * (std::fabs(weight[e]) * error + 2 * std::fabs(want[i]) +
                           (shift ? std::fabs(shift[e]) : 0)) +
                   1e-30;
        });
        c.digest("layer_norm", got);
    }
}

void check_rope(Check& c) {
    const int64_t T = 5, D = c.numbers.integer(1, 60) * 2, R = c.numbers.integer(1, D / 2) * 2;
    const int64_t heads = c.numbers.integer(1, 4), width = heads * D + c.numbers.integer(0, 70);
    std::vector<int32_t> positions;
    for (int64_t t = 0; t < T; ++t) positions.push_back(int32_t(c.numbers.integer(0, 100000)));
    Floats frequencies(size_t(R / 2));
    for (float& f : frequencies) f = float(c.numbers.unit());
    Floats table(size_t(T * R)), want_table(size_t(T * R));
    RopeTableArgs angles{positions.data(), frequencies.data(), table.data(), T, R, 1.25f, 0, 0, 0};
    run(c.fast.rope_table, angles, 2);
    angles.table = want_table.data();
    run(c.ref.rope_table, angles);
    c.same("rope_table: one definition", table, want_table);
    for (bool interleaved : {false, true}) {
        Floats x = c.numbers.floats(T * width), got(x.size()), want(x.size());
        RopeArgs args{x.data(), table.data(), got.data(), T, width, heads, D, R, interleaved};
        run(c.fast.rope, args, 2);
        args.out = want.data();
        run(c.ref.rope, args);
        // Two products and their sum are rounded, of numbers up to 2 and angles up to 1.25.
        c.near("rope", got, want, [&](size_t i) {
            return int64_t(i) % width >= heads * D ? 0 : kEps * (2 * 2 * 1.25);
        });
        c.digest("rope", got);
    }
}

void check_embed(Check& c) {
    const int64_t N = 40, E = c.numbers.integer(1, 300), T = 9;
    Floats numbers = c.numbers.floats(N * E), residual = c.numbers.floats(T * E);
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < T; ++t) ids.push_back(int32_t(c.numbers.integer(0, N - 1)));
    for (Format format :
         {Format::f32, Format::f16, Format::bf16, Format::int8, Format::int4, Format::fp8}) {
        PackedMatrix table = PackedMatrix::pack(format, {{numbers.data(), DType::f32, N, E, false}},
                                                false, shared_pool(1), c.fast);
        Floats got(residual.size()), want(residual.size());
        run(c.fast.embed, EmbedArgs{ids.data(), table.view(), residual.data(), got.data(), T}, 2);
        run(c.ref.embed, EmbedArgs{ids.data(), table.view(), residual.data(), want.data(), T});
        c.same("embed", got, want);
    }
}

void check_probe(Check& c) {
    std::vector<int32_t> words(256 * 37);
    for (int32_t& word : words) word = int32_t(c.numbers.integer(0, INT32_MAX));
    auto probe = [&](const Kernels& kernels, ProbeKind kind, int64_t rounds) {
        double result = 0, operations = 0;
        ProbeArgs args{kind,
                       reinterpret_cast<const std::byte*>(words.data()),
                       int64_t(words.size() * 4),
                       rounds,
                       &result,
                       &operations};
        run(kernels.probe, args);
        return std::array{result, operations};
    };
    c.expect(probe(c.fast, ProbeKind::read, 0) == probe(c.ref, ProbeKind::read, 0), "probe: read");
    for (ProbeKind kind : {ProbeKind::fma_f32, ProbeKind::dot_bf16, ProbeKind::dot_int8}) {
        auto [once, one] = probe(c.fast, kind, 50);
        auto [twice, two] = probe(c.fast, kind, 100);
        c.expect(one > 0 && two == 2 * one, "probe: operations");
        if (kind == ProbeKind::dot_int8)
            c.expect(once > 0 && twice == 2 * once, "probe: sums of ones");
    }
}

}  // namespace

void check_rows(Check& c) {
    check_activation(c);
    check_bound(c);
    check_swiglu(c);
    for (auto [T, V] : {std::pair(1, 1), {3, 15}, {2, 16}, {5, 63}, {2, 1025}, {1, 9001}})
        check_softmax(c, T, V);
    // Rows enough that another order of a sum shows in some digest.
    for (auto [T, E] : {std::pair(1, 2), {30, 15}, {30, 16}, {30, 64}, {30, 577}})
        check_norms(c, T, E);
    check_rope(c);
    check_embed(c);
    check_probe(c);
}

}  // namespace genfast
