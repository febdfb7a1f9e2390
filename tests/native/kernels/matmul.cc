// matmul in every format and tile, and pack, whose panels must be the reference's to the bit.
#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/buffer.h"
#include "kernels/check.h"
#include "program/packed_matrix.h"
#include "quant/unpack.h"

namespace genfast {
namespace {

struct Problem {
    const PackedMatrix& w;
    Floats x, bias, residual;  // the last two may be empty
    int64_t M;
    Activation activation = Activation::none;
};

Floats multiply(const Kernels& kernels, const Problem& p, int threads) {
    const Matrix& w = p.w.view();
    Floats out(size_t(p.M * outputs(w)));
    Buffer scratch(kernels.matmul_scratch_bytes(w, p.M, threads));
    MatmulArgs args{p.x.data(),
                    w,
                    p.bias.empty() ? nullptr : p.bias.data(),
                    p.residual.empty() ? nullptr : p.residual.data(),
                    out.data(),
                    scratch.data(),
                    p.M,
                    p.activation};
    run(kernels.matmul, args, threads);
    return out;
}

std::vector<std::byte> bytes_of(const PackedMatrix& w) {
    return {w.view().data, w.view().data + w.nbytes()};
}

// A random matrix; packed by the reference and by the fast kernels, from every source.
PackedMatrix random_matrix(Check& c, Format format, int64_t N, int64_t K, bool gated) {
    const DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
    const DType dtype = dtypes[c.numbers.integer(0, 2)];
    const bool transposed = c.numbers.integer(0, 1);
    const int64_t parts = gated ? 2 : 1;
    Floats numbers = c.numbers.floats(N * K);
    std::vector<char> file(size_t(N * K * itemsize(dtype) + 1));  // tensors need not be aligned
    for (size_t i = 0; i < numbers.size(); ++i) {
        char* to = file.data() + 1 + i * size_t(itemsize(dtype));
        const uint16_t half =
            dtype == DType::f16 ? f32_to_f16(numbers[i]) : f32_to_bf16(numbers[i]);
        if (dtype == DType::f32)
            std::memcpy(to, &numbers[i], 4);
        else
            std::memcpy(to, &half, 2);
    }
    std::vector<WeightSource> sources;
    for (int64_t i = 0; i < parts; ++i)
        sources.push_back({file.data() + 1 + i * N / parts * K * itemsize(dtype), dtype, N / parts,
                           K, transposed});
    auto want = PackedMatrix::pack(format, sources, gated, shared_pool(1), c.ref);
    auto got = PackedMatrix::pack(format, sources, gated, shared_pool(2), c.fast);
    c.same(cat("pack ", traits(format).name, " ", N, " x ", K), bytes_of(got), bytes_of(want));
    c.digest("pack", bytes_of(got));
    return got;
}

// Whose sums are of integers.
bool is_whole(Format format) {
    return format == Format::int8 || format == Format::int4;
}

// What rounding may do: a chain of fma over K (dense formats and fp8), or over groups of exact sums
// (int4), or a few products (int8), each off by at most half an ulp of the sum of magnitudes.
std::vector<double> bounds(const Problem& p) {
    const Matrix& w = p.w.view();
    const bool quantised = is_whole(w.format);
    const double roundings = 4 + (!quantised ? double(w.K) : double(w.K) / kGroup + 1);
    std::vector<double> bound;
    Floats row(size_t(w.K));
    for (int64_t m = 0; m < p.M; ++m) {
        const float* x = p.x.data() + m * w.K;
        double largest = 0;
        for (int64_t k = 0; k < w.K; ++k) largest = std::max(largest, std::fabs(double(x[k])));
        for (int64_t n = 0; n < outputs(w); ++n) {
            unpack_row(w, n, 0, w.K, row.data());
            double magnitude = 0;
            for (int64_t k = 0; k < w.K; ++k) {
                const double off = quantised ? largest / 254 : std::fabs(double(x[k])) / 256;
                magnitude += (std::fabs(double(x[k])) + off) * std::fabs(double(row[size_t(k)]));
            }
            bound.push_back(roundings * kEps * magnitude + 1e-37);
        }
    }
    return bound;
}

// The same bits for any number of threads, and for each row alone.
void check_invariance(Check& c, const std::string& what, const Problem& p, const Floats& whole) {
    for (int threads : {1, 3})
        c.same(cat(what, ", threads ", threads), multiply(c.fast, p, threads), whole);
    const int64_t N = outputs(p.w.view()), K = p.w.view().K;
    for (int64_t m : {int64_t(0), p.M / 2, p.M - 1}) {
        Problem alone{p.w, {}, p.bias, {}, 1, p.activation};
        alone.x.assign(p.x.begin() + m * K, p.x.begin() + (m + 1) * K);
        if (!p.residual.empty())
            alone.residual.assign(p.residual.begin() + m * N, p.residual.begin() + (m + 1) * N);
        c.same(cat(what, ", row ", m, " alone"), multiply(c.fast, alone, 1),
               Floats(whole.begin() + m * N, whole.begin() + (m + 1) * N));
    }
}

void check_product(Check& c, Format format, int64_t M, int64_t N, int64_t K) {
    const std::string kind = cat("matmul ", traits(format).name);
    const std::string what = cat(kind, " ", M, " x ", N, " x ", K);
    PackedMatrix w = random_matrix(c, format, N, K, false);
    Problem p{w, c.numbers.floats(M * K), {}, {}, M};
    Floats got = multiply(c.fast, p, 2), want = multiply(c.ref, p, 1);
    std::vector<double> bound = bounds(p);
    c.near(what, got, want, [&](size_t i) { return bound[i] + kEps * std::fabs(want[i]); });
    c.digest(kind, got);
    check_invariance(c, what, p, got);
}

Floats activated(const Kernels& kernels, Activation kind, Floats x) {
    run(kernels.activation, ActivationArgs{x.data(), x.data(), int64_t(x.size()), kind});
    return x;
}

// An epilogue is the same operations as its kernels make one after the other, so the same bits.
void check_epilogue(Check& c, Format format, Activation activation, int64_t M) {
    const int64_t F = c.numbers.integer(1, 50), K = c.numbers.integer(1, 90);
    for (bool gated : {false, true}) {
        const int64_t N = gated ? 2 * F : F;
        const std::string what = cat("matmul ", traits(format).name, gated ? ", gated, " : ", ",
                                     "activation ", int(activation), ", ", M, " x ", N, " x ", K);
        PackedMatrix w = random_matrix(c, format, N, K, gated);
        Floats bias = c.numbers.floats(N), residual = c.numbers.floats(M * F);
        Problem p{w, c.numbers.floats(M * K), bias, residual, M, activation};
        Floats got = multiply(c.fast, p, 2);
        check_invariance(c, what, p, got);
        c.digest(cat("matmul ", traits(format).name), got);

        // One product of all N rows: the plain matrix in the same format, row by row.
        Floats rows(size_t(N * K));
        for (int64_t n = 0; n < N; ++n) unpack_row(w.view(), n, 0, K, rows.data() + n * K);
        if (traits(format).quantised) continue;  // unpacked rows might quantise to others
        PackedMatrix plain = PackedMatrix::pack(format, {{rows.data(), DType::f32, N, K, false}},
                                                false, shared_pool(1), c.fast);
        Floats sums = multiply(c.fast, {plain, p.x, bias, {}, M}, 1);
        Floats want;
        for (int64_t m = 0; m < M; ++m) {
            const float* row = sums.data() + m * N;
            Floats gate = activated(c.fast, activation, Floats(row, row + F));
            for (int64_t f = 0; f < F; ++f) {
                float y = gate[size_t(f)];
                if (gated) y *= row[F + f];
                want.push_back(y + residual[size_t(m * F + f)]);
            }
        }
        c.same(cat(what, ": operations apart"), got, want);
    }
}

// Integers whose scales are 1, so that nothing is rounded: the largest products of one sign, and
// random ones.
void check_exact_sums(Check& c, Format format) {
    const int64_t M = c.numbers.integer(1, 13), N = 33, K = 1024;
    const int most = format == Format::int8 ? 127 : 8;
    for (int mode = 0; mode < 3; ++mode) {
        Floats x(size_t(M * K)), w(size_t(N * K));
        for (float& value : x) value = mode < 2 ? 127.0f : float(c.numbers.integer(-127, 127));
        for (float& value : w)
            value = mode < 2 ? float(mode ? most : -most)
                             : float(c.numbers.integer(-most + 1, most - 1));
        for (int64_t m = 0; m < M; ++m) x[size_t(m * K)] = 127;
        for (int64_t i = 0; i < N * K; i += kGroup)  // a row's, or group's, extreme
            w[size_t(i)] = format == Format::int8 ? 127.0f : mode == 1 ? 8.0f : -8.0f;
        Floats integers = w, factors = x;
        if (format == Format::int8) {  // which rotates them back, exactly
            rotate(w.data(), N * K);
            rotate(x.data(), M * K);
        }
        PackedMatrix packed = PackedMatrix::pack(format, {{w.data(), DType::f32, N, K, false}},
                                                 false, shared_pool(1), c.fast);
        Floats row(static_cast<size_t>(K)), want;
        bool kept = true;
        for (int64_t n = 0; n < N; ++n) {
            unpack_row(packed.view(), n, 0, K, row.data());
            kept &= std::equal(row.begin(), row.end(), w.begin() + n * K);
        }
        c.expect(kept, "weights that are integers stay as they are");
        for (int64_t m = 0; m < M; ++m)
            for (int64_t n = 0; n < N; ++n) {
                int64_t sum = 0;
                for (int64_t k = 0; k < K; ++k)
                    sum +=
                        int64_t(factors[size_t(m * K + k)]) * int64_t(integers[size_t(n * K + k)]);
                want.push_back(float(sum));
            }
        c.same(cat("exact sums, ", traits(format).name, ", mode ", mode),
               multiply(c.fast, {packed, x, {}, {}, M}, 1), want);
    }
}

// Of a matrix that both hold exactly, whose scales are 1. Not where bf16 has products of its own.
void check_fp8_is_bf16(Check& c) {
    if (std::string_view(c.fast.matmul_variant(Format::bf16)).ends_with("wgmma")) return;
    for (int64_t M : {int64_t(1), c.numbers.integer(2, 12), c.numbers.integer(13, 90)}) {
        const int64_t N = c.numbers.integer(1, 70), K = c.numbers.integer(1, 1100);
        Floats w(size_t(N * K));
        for (float& x : w) {
            const int64_t bits = c.numbers.integer(0, 253);
            x = e4m3::to_f32(uint8_t(bits < 127 ? bits : bits + 1));  // all but the two NaN
        }
        for (int64_t n = 0; n < N; ++n) w[size_t(n * K)] = e4m3::kLargest;
        const Floats x = c.numbers.floats(M * K), bias = c.numbers.floats(N);
        std::vector<Floats> found;
        for (Format format : {Format::fp8, Format::bf16}) {
            PackedMatrix packed = PackedMatrix::pack(format, {{w.data(), DType::f32, N, K, false}},
                                                     false, shared_pool(1), c.fast);
            found.push_back(multiply(c.fast, {packed, x, bias, {}, M, Activation::silu}, 1));
        }
        c.same(cat("fp8 as bf16, ", M, " x ", N, " x ", K), found[0], found[1]);
    }
}

void check_not_finite(Check& c, Format format) {
    const int64_t M = 5, N = 40, K = 70;
    PackedMatrix w = random_matrix(c, format, N, K, false);
    Problem p{w, c.numbers.floats(M * K), {}, {}, M};
    Floats clean = multiply(c.fast, p, 1);
    p.x[size_t(1 * K + 3)] = NAN;
    p.x[size_t(4 * K + 69)] = INFINITY;
    Floats got = multiply(c.fast, p, 1);
    for (int64_t m = 0; m < M; ++m)
        for (int64_t i = m * N; i < (m + 1) * N; ++i)
            c.expect(m == 1 || m == 4 ? !std::isfinite(got[size_t(i)])
                                      : got[size_t(i)] == clean[size_t(i)],
                     cat("a row that is not finite, ", traits(format).name, ", element ", i));
}

}  // namespace

void check_matmul(Check& c) {
    for (Format format :
         {Format::f32, Format::f16, Format::bf16, Format::int8, Format::int4, Format::fp8}) {
        for (int64_t M = 1; M <= 13; ++M) {
            const int64_t N = c.numbers.integer(1, 70), K = c.numbers.integer(1, 140);
            check_product(c, format, M, N, K);
        }
        check_product(c, format, c.numbers.integer(14, 40), 33, 519);
        check_product(c, format, 14, 32, 4102);  // columns in blocks
        const int64_t N = c.numbers.integer(33, 140), K = c.numbers.integer(1, 200);
        check_product(c, format, c.numbers.integer(65, 300), N, K);
        check_product(c, format, c.numbers.integer(65, 140), 17, 1100);  // many rows, slices of K
        check_product(c, format, c.numbers.integer(1, 64), 40, 510);
        check_not_finite(c, format);
        for (Activation activation : {Activation::none, Activation::relu, Activation::silu,
                                      Activation::gelu, Activation::gelu_tanh})
            check_epilogue(c, format, activation, c.numbers.integer(1, 14));
        check_epilogue(c, format, Activation::silu, c.numbers.integer(65, 90));
    }
    check_exact_sums(c, Format::int8);
    check_exact_sums(c, Format::int4);
    check_fp8_is_bf16(c);
}

}  // namespace genfast
