// matmul with AMX: over emulated tile registers on any machine with AVX2, on the real ones where
// the CPU has them. Exact bits throughout: int8 against AVX2's, bf16 against its definition.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "amx_emulation.h"
#include "core/cpu.h"
#include "core/error.h"
#include "guarded.h"
#include "kernels/dispatch.h"
#include "program/packed_matrix.h"
#include "quant/unpack.h"
#include "selftest.h"

#if defined(GENFAST_X86)

namespace genfast {

namespace amx_emulated {
void matmul(const MatmulArgs&, Team&);
size_t matmul_scratch_bytes(const Matrix& w, int64_t M, int threads);
const char* matmul_variant(Format format);
}  // namespace amx_emulated

namespace {

constexpr uint64_t kSeed = 20;

struct Weights {
    PackedMatrix packed;
    Guarded panels;
    Matrix view;

    Weights(Format format, int64_t N, int64_t K, bool gated)
        : packed(pack(format, N, K, gated)), panels(packed.nbytes()), view(packed.view()) {
        std::memcpy(panels.data(), view.data, packed.nbytes());
        view.data = panels.data();
    }
    static PackedMatrix pack(Format format, int64_t N, int64_t K, bool gated) {
        std::vector<float> numbers = noise(kSeed, 1, N * K);
        if (format == Format::fp8) {  // which holds these exactly, by a scale of 1
            for (float& x : numbers) x = e4m3::to_f32(e4m3::from_f32(x * e4m3::kLargest));
            for (int64_t n = 0; n < N; ++n) numbers[size_t(n * K)] = e4m3::kLargest;
        }
        const int64_t parts = gated ? 2 : 1;
        std::vector<WeightSource> sources;
        for (int64_t i = 0; i < parts; ++i)
            sources.push_back(
                {numbers.data() + i * N / parts * K, DType::f32, N / parts, K, false});
        return PackedMatrix::pack(format, sources, gated, shared_pool(1));
    }
};

struct Path {
    std::string name;
    void (*matmul)(const MatmulArgs&, Team&);
    size_t (*scratch_bytes)(const Matrix&, int64_t, int);
    const char* (*variant)(Format);
};
const Path kEmulated = {"emulated AMX", amx_emulated::matmul, amx_emulated::matmul_scratch_bytes,
                        amx_emulated::matmul_variant};
Path path_of(const std::string& isa) {
    const Kernels& kernels = kernels_for(isa);
    return {isa, kernels.matmul, kernels.matmul_scratch_bytes, kernels.matmul_variant};
}

using Floats = std::vector<float>;

// The first M rows of x times w; with bias, activation and residual, or plain.
Floats multiply(const Path& path, const Weights& w, const Floats& x, int64_t M, bool epilogue,
                int threads = 1) {
    ThreadPool& pool = shared_pool(threads);
    const int64_t columns = outputs(w.view);
    const size_t scratch_bytes = path.scratch_bytes(w.view, M, pool.size());
    Guarded scratch(scratch_bytes);
    std::memset(scratch.data(), 0xff, scratch_bytes);  // NaN as bf16: what is not packed is seen
    const Floats bias = noise(kSeed, 2, w.view.N), residual = noise(kSeed, 3, M * columns);
    Floats out(size_t(M * columns));
    MatmulArgs args{x.data(),
                    w.view,
                    epilogue ? bias.data() : nullptr,
                    epilogue ? residual.data() : nullptr,
                    out.data(),
                    scratch.data(),
                    M,
                    epilogue ? Activation::silu : Activation::none};
    pool.run([&](Team& team) {
        path.matmul(args, team);
        expect(!tile_registers().in_use(), "no thread keeps its tile registers configured");
    });
    return out;
}

bool same_bits(const Floats& a, const Floats& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// matmul.h: for each 32 k a chain over the even ones and a chain over the odd ones. Of fp8 too, as
// its scales are 1.
Floats bf16_by_definition(const Weights& weights, const Floats& x, int64_t M) {
    const int64_t K = weights.view.K, N = weights.view.N;
    Floats out, w(static_cast<size_t>(K));
    for (int64_t m = 0; m < M; ++m)
        for (int64_t n = 0; n < N; ++n) {
            unpack_row(weights.view, n, 0, K, w.data());
            float sum = 0;
            for (int64_t block = 0; block < K; block += 32) {
                float half[2] = {};
                for (int64_t k = block; k < std::min(K, block + 32); ++k)
                    half[k % 2] = std::fma(bf16_to_f32(f32_to_bf16(x[size_t(m * K + k)])),
                                           w[size_t(k)], half[k % 2]);
                sum += half[0] + half[1];
            }
            out.push_back(sum);
        }
    return out;
}

struct Shape {
    int64_t M, N, K;
};
// One tile register and two, with and without rows to spare; panels and k with tails; and (the
// last) k in blocks.
constexpr Shape kShapes[] = {{1, 1, 1},     {1, 40, 33},   {7, 33, 64},
                             {16, 32, 32},  {17, 31, 63},  {32, 64, 65},
                             {33, 70, 130}, {64, 32, 256}, {70, 33, 4166}};

void exact_sums(const Path& path) {
    for (auto [M, N, K] : kShapes) {
        const std::string what = cat(path.name, ", M, N, K = ", M, ", ", N, ", ", K);
        const Floats x = noise(kSeed, 4, M * K);
        const Weights bf16(Format::bf16, N, K, false), fp8(Format::fp8, N, K, false),
            int8(Format::int8, N, K, false);
        for (const Weights* w : {&bf16, &fp8})
            expect(same_bits(multiply(path, *w, x, M, false), bf16_by_definition(*w, x, M)),
                   cat(traits(w->view.format).name, " sums as defined: ", what));
        expect(same_bits(multiply(path, int8, x, M, true),
                         multiply(path_of("avx2"), int8, x, M, true)),
               cat("int8 gives AVX2's bits: ", what));
    }
}

// The largest products, all of one sign, add up without saturating.
void large_integers(const Path& path) {
    constexpr int64_t M = 20, N = 32, K = 1028;
    Weights w(Format::int8, N, K, false);
    Floats x(size_t(M * K), 127.0f);  // once the kernel has rotated them back
    for (int64_t m = 0; m < M; ++m) rotate(x.data() + m * K, K);
    for (int8_t weight : {int8_t(127), int8_t(-127)}) {
        std::memset(w.panels.data(), weight, size_t(K * N));
        for (int row = 0; row < N; ++row) int8::scales(w.panels.data(), K)[row] = 1;
        for (float y : multiply(path, w, x, M, false))
            expect(y == 127.0f * float(weight) * float(K), cat(path.name, ": ", y));
    }
}

void batch_invariance(const Path& path, Format format, bool gated, Shape shape) {
    auto [M, N, K] = shape;
    const Floats x = noise(kSeed, 5, M * K);
    const Weights w(format, N, K, gated);
    const Floats whole = multiply(path, w, x, M, true);
    const int64_t columns = outputs(w.view);
    auto row = [&](const Floats& y, int64_t m) {
        return Floats(y.begin() + m * columns, y.begin() + (m + 1) * columns);
    };
    for (int threads : {1, 2, 3}) {
        const std::string what =
            cat(path.name, ", ", traits(format).name, ", ", threads, " threads");
        if (threads > 1) expect(same_bits(multiply(path, w, x, M, true, threads), whole), what);
        for (int64_t m : {1, 2, 6, 7, 12, 13, 16, 17, 31, 32, 33, 48, 63, 65}) {
            const Floats some = multiply(path, w, x, m, true, threads);
            expect(same_bits(some, Floats(whole.begin(), whole.begin() + m * columns)),
                   cat("M = ", m, " as in M = ", M, ": ", what));
        }
    }
    // Alone, each row is what it is among all; its residual is that of row 0.
    const Floats plain = multiply(path, w, x, M, false);
    for (int64_t m = 0; m < M; m += 1 + m % 7) {
        const Floats token(x.begin() + m * K, x.begin() + (m + 1) * K);
        expect(same_bits(multiply(path, w, token, 1, false), row(plain, m)),
               cat("row ", m, " alone: ", path.name, ", ", traits(format).name));
    }
}

void test(const Path& path) {
    expect(path.variant(Format::int8) == std::string("int8_amx"), path.name);
    expect(path.variant(Format::bf16) == std::string("bf16_amx"), path.name);
    expect(path.variant(Format::fp8) == std::string("fp8_amx"), path.name);
    exact_sums(path);
    large_integers(path);
    for (Format format : {Format::bf16, Format::fp8, Format::int8}) {
        batch_invariance(path, format, false, {800, 40, 70});  // jobs of 96 and of 384 tokens
        batch_invariance(path, format, true, {66, 74, 4166});
    }
}

// bf16 and fp8 have no other tiles, int8 has for small batches: otherwise the tests above test
// those.
void emulation_is_used() {
    const Floats x = noise(kSeed, 6, 16 * 64);
    for (Format format : {Format::bf16, Format::fp8, Format::int8})
        for (int64_t M : {1, 16}) {
            const Weights w(format, 32, 64, false);
            const int64_t before = tile_registers().products();
            multiply(kEmulated, w, x, M, false);
            const bool used = tile_registers().products() > before;
            expect(used == (format != Format::int8 || M == 16),
                   cat("AMX for M = ", M, " of ", traits(format).name));
        }
}

}  // namespace

void amx_tiles() {
    if (!cpu_features().avx2) {
        std::printf("emulated AMX skipped: this CPU has no AVX2\n");
        return;
    }
    emulation_is_used();
    test(kEmulated);
    if (cpu_features().amx_missing.empty())
        test(path_of("amx"));
    else
        std::printf("AMX skipped: %s\n", cpu_features().amx_missing.c_str());
}

}  // namespace genfast

#else

namespace genfast {
void amx_tiles() {
    std::printf("AMX skipped: not an x86-64 machine\n");
}
}  // namespace genfast

#endif
