// latent_attention against the reference, and head_matmul against matmul on each head alone.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/buffer.h"
#include "kernels/check.h"
#include "program/ops.h"
#include "program/packed_matrix.h"

namespace genfast {
namespace {

struct Case {
    KvType type;
    int64_t T, past;
    int heads;
    int64_t latent, rotated, window, sinks;
};

// One sequence: its rows from the first token on, which a step a part of them appends.
struct Sequence {
    Case shape;
    KvLayout layout;
    Floats q, turned, rows;
    std::vector<int32_t> pages;

    Sequence(Numbers& numbers, const Case& shape)
        : shape(shape), layout(latent_layout(shape.type, shape.latent, shape.rotated)) {
        const int64_t S = shape.past + shape.T;
        pages.resize(size_t((S + kPageTokens - 1) / kPageTokens));
        std::iota(pages.rbegin(), pages.rend(), 0);
        q = numbers.floats(S * shape.heads * shape.latent, 3);
        turned = numbers.floats(S * shape.heads * shape.rotated, 3);
        rows = numbers.floats(S * (shape.latent + shape.rotated));
    }

    // The outputs of the last T tokens, in chunks of so many; those before come in one step.
    Floats attend(const Kernels& kernels, int threads, int64_t chunk) const {
        const int64_t R = shape.latent, P = shape.rotated, S = shape.past + shape.T;
        Buffer cache(size_t(pages.size() + kRunPages - 1) / kRunPages * layout.run_bytes());
        Floats out(size_t(S * shape.heads * R));
        for (int64_t t = 0, now; t < S; t += now) {
            now = t < shape.past ? shape.past : std::min(chunk, S - t);
            const SequenceSpan span{0, now, t, pages.data()};
            LatentArgs args{q.data() + t * shape.heads * R,
                            turned.data() + t * shape.heads * P,
                            rows.data() + t * (R + P),
                            out.data() + t * shape.heads * R,
                            cache.data(),
                            layout,
                            &span,
                            nullptr,
                            1,
                            now,
                            shape.heads * P,
                            shape.heads,
                            1 / std::sqrt(float(R + P)),
                            shape.window,
                            shape.sinks};
            Buffer scratch(kernels.latent_attention_scratch_bytes(args, threads, t + now) + 64);
            args.scratch = scratch.data();
            args.context = t + now;
            run(kernels.latent_attention, args, threads);
        }
        return Floats(out.end() - shape.T * shape.heads * R, out.end());
    }
};

void check_attention(Check& c, const Case& shape) {
    const std::string what = cat("latent_attention ", int(shape.type), " T=", shape.T,
                                 " past=", shape.past, " window=", shape.window);
    const Sequence sequence(c.numbers, shape);
    const Floats got = sequence.attend(c.fast, 1, shape.T);
    const Floats want = sequence.attend(c.ref, 1, shape.T);
    // Of scores below 100, hundreds of roundings of their terms: relative in every weight, and so
    // in outputs that are at most 2.
    c.near(what, got, want, [&](size_t) { return 2 * 100 * 64 * kEps; });
    for (int threads : {2, 3})
        c.same(cat(what, ", ", threads, " threads"), got,
               sequence.attend(c.fast, threads, threads == 2 ? shape.T : 1));
    c.digest("latent_attention", got);
}

void check_heads(Check& c, Format format) {
    const int64_t heads = 3, T = 9, K = c.numbers.integer(1, 90), N = c.numbers.integer(1, 70);
    const int64_t first = 5, columns = first + heads * K + 2;
    std::vector<PackedMatrix> packed;
    std::vector<Matrix> matrices;
    for (int64_t h = 0; h < heads; ++h) {
        Floats w = c.numbers.floats(N * K);
        packed.push_back(PackedMatrix::pack(format, {{w.data(), DType::f32, N, K, false}}, false,
                                            shared_pool(1), c.fast));
    }
    for (const PackedMatrix& matrix : packed) matrices.push_back(matrix.view());
    const Floats x = c.numbers.floats(T * columns);
    Floats got(size_t(T * heads * N)), row(static_cast<size_t>(N));
    HeadMatmulArgs args{x.data(), matrices.data(), got.data(), nullptr, T, heads, columns, first};
    Buffer scratch(c.fast.head_matmul_scratch_bytes(matrices[0], T, 2) + 64);
    args.scratch = scratch.data();
    args.on_device = matrices.data();
    run(c.fast.head_matmul, args, 2);
    for (int64_t t = 0; t < T; ++t)
        for (int64_t h = 0; h < heads; ++h) {
            MatmulArgs alone{x.data() + t * columns + first + h * K,
                             matrices[size_t(h)],
                             nullptr,
                             nullptr,
                             row.data(),
                             scratch.data(),
                             1,
                             Activation::none};
            run(c.fast.matmul, alone);
            const auto mine = got.begin() + (t * heads + h) * N;
            c.same("head_matmul: matmul by matmul", Floats(mine, mine + N), row);
        }
}

}  // namespace

void check_latent(Check& c) {
    for (KvType type : {KvType::f32, KvType::bf16, KvType::int8, KvType::fp8}) {
        check_attention(c, {type, 1, 520, 5, 40, 6, 0, 0});
        check_attention(c, {type, 40, 20, 18, 48, 16, 0, 0});
        check_attention(c, {type, 5, 520, 3, 32, 8, 300, 4});
    }
    for (Format format : {Format::f32, Format::int8, Format::int4, Format::fp8})
        check_heads(c, format);
}

}  // namespace genfast
