// route, and moe against matmul on each token alone.
#include <algorithm>
#include <cmath>

#include "core/buffer.h"
#include "kernels/check.h"
#include "program/packed_matrix.h"

namespace genfast {
namespace {

constexpr int64_t kRows = 9, kExperts = 12, kChosen = 3;

Floats check_route(Check& c, Scoring scoring, bool biased) {
    Floats logits = c.numbers.floats(kRows * kExperts, 2), bias = c.numbers.floats(kExperts, 0.1);
    Floats got(size_t(kRows * 2 * kChosen)), want(got.size());
    RouteArgs args{logits.data(),
                   biased ? bias.data() : nullptr,
                   got.data(),
                   kRows,
                   kExperts,
                   kChosen,
                   4,
                   2,
                   1.5f,
                   scoring,
                   true};
    run(c.fast.route, args, 2);
    args.out = want.data();
    run(c.ref.route, args);
    c.near(cat("route ", int(scoring)), got, want, [&](size_t i) {
        return int64_t(i) % (2 * kChosen) < kChosen ? 0 : (kExperts + 12) * kEps * want[i];
    });
    c.digest("route", got);
    return got;
}

void check_moe(Check& c, const Floats& routes, Format format) {
    const int64_t E = c.numbers.integer(1, 90), F = c.numbers.integer(1, 70);
    std::vector<PackedMatrix> packed;
    std::vector<Matrix> matrices;
    for (int64_t e = 0; e < kExperts; ++e) {
        Floats up = c.numbers.floats(2 * F * E), down = c.numbers.floats(E * F);
        packed.push_back(PackedMatrix::pack(
            format,
            {{up.data(), DType::f32, F, E, false}, {up.data() + F * E, DType::f32, F, E, false}},
            true, shared_pool(1), c.fast));
        packed.push_back(PackedMatrix::pack(format, {{down.data(), DType::f32, E, F, false}}, false,
                                            shared_pool(1), c.fast));
    }
    for (const PackedMatrix& matrix : packed) matrices.push_back(matrix.view());
    Floats x = c.numbers.floats(kRows * E), residual = c.numbers.floats(kRows * E);
    Floats got(x.size()), want = residual;
    Floats up_bias = c.numbers.floats(kExperts * 2 * F);
    Floats down_bias = c.numbers.floats(kExperts * E);
    MoeArgs args{x.data(),        routes.data(),
                 residual.data(), got.data(),
                 nullptr,         matrices.data(),
                 kRows,           kExperts,
                 kChosen,         Activation::clamped_silu,
                 up_bias.data(),  down_bias.data(),
                 matrices.data()};
    for (int threads : {1, 3}) {
        Buffer scratch(c.fast.moe_scratch_bytes(args, threads));
        args.scratch = scratch.data();
        run(c.fast.moe, args, threads);
        if (threads == 1) want = got;
        c.same("moe: as with one thread", got, want);
    }
    c.digest(cat("moe ", traits(format).name), got);

    Floats hidden(static_cast<size_t>(F)), part(static_cast<size_t>(E));
    for (int64_t t = 0; t < kRows; ++t) {
        Floats row(residual.begin() + t * E, residual.begin() + (t + 1) * E);
        for (int64_t i = 0; i < kChosen; ++i) {
            const float* route = routes.data() + t * 2 * kChosen + i;
            auto multiply = [&](const float* from, const Matrix& w, const float* bias, float* to,
                                Activation kind) {
                Buffer scratch(c.fast.matmul_scratch_bytes(w, 1, 1));
                run(c.fast.matmul, MatmulArgs{from, w, bias, nullptr, to, scratch.data(), 1, kind});
            };
            const int64_t e = int64_t(*route);
            const Matrix* own = matrices.data() + 2 * e;
            multiply(x.data() + t * E, own[0], up_bias.data() + 2 * F * e, hidden.data(),
                     Activation::clamped_silu);
            multiply(hidden.data(), own[1], down_bias.data() + E * e, part.data(),
                     Activation::none);
            for (size_t e = 0; e < part.size(); ++e)
                row[e] = std::fma(part[e], route[kChosen], row[e]);
        }
        c.same("moe: matmul by matmul", Floats(got.begin() + t * E, got.begin() + (t + 1) * E),
               row);
    }
}

}  // namespace

void check_experts(Check& c) {
    Floats routes;
    for (Scoring scoring : {Scoring::softmax_of_chosen, Scoring::sigmoid, Scoring::softmax})
        for (bool biased : {false, true}) routes = check_route(c, scoring, biased);
    for (Format format : {Format::f32, Format::int8, Format::int4, Format::fp8})
        check_moe(c, routes, format);
}

}  // namespace genfast
