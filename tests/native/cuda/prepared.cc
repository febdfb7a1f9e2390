// Rows that an op leaves as products want them: a product of those is the bits that it is of
// floats.
#include <cmath>
#include <cstring>

#include "core/buffer.h"
#include "kernels/check.h"
#include "kernels/cuda_library.h"
#include "program/packed_matrix.h"

namespace genfast {
namespace cuda {
RowsFor rows_for(const Matrix& w);
int64_t prepared_rows(const char* op, Format own, const Matrix& w);
size_t prepared_bytes(const Matrix& w, int64_t rows);
}  // namespace cuda
namespace {

PackedMatrix random_matrix(Check& c, Format format, int64_t N, int64_t K, bool gated) {
    const Floats numbers = c.numbers.floats(N * K);
    std::vector<WeightSource> sources;
    for (int64_t i = 0; i < (gated ? 2 : 1); ++i) {
        const int64_t rows = gated ? N / 2 : N;
        sources.push_back({reinterpret_cast<const char*>(numbers.data() + i * rows * K), DType::f32,
                           rows, K, false});
    }
    return PackedMatrix::pack(format, sources, gated, shared_pool(1), c.ref);
}

Floats product(const Kernels& kernels, const Matrix& w, const float* x, int64_t M, bool prepared) {
    Floats out(size_t(M * outputs(w)), NAN);
    Buffer scratch(kernels.matmul_scratch_bytes(w, M, 1));
    std::memset(scratch.data(), 0xa5, scratch.size());  // of the op before
    MatmulArgs args{x, w, nullptr, nullptr, out.data(), scratch.data(), M, Activation::none};
    args.prepared = prepared;
    run(kernels.matmul, args);
    return out;
}

// Two products read what `write(place, rows_for)` leaves; a place without is for floats.
template <class Write>
void check_products(Check& c, const std::string& what, Format format, int64_t M, int64_t K,
                    Write write) {
    const PackedMatrix narrow = random_matrix(c, format, 40, K, false);
    const PackedMatrix wide = random_matrix(c, format, 130, K, true);
    Floats floats(static_cast<size_t>(M * K));
    write(floats.data(), RowsFor{});
    Buffer rows(cuda::prepared_bytes(wide.view(), M));
    std::memset(rows.data(), 0xa5, rows.size());
    write(rows.as<float>(), cuda::rows_for(wide.view()));
    for (const PackedMatrix* w : {&wide, &narrow, &wide})
        c.same(what, product(c.fast, w->view(), rows.as<float>(), M, true),
               product(c.fast, w->view(), floats.data(), M, false));
}

void check_after_norm(Check& c, Format format, int64_t M, int64_t K) {
    const Floats x = c.numbers.floats(M * K), weight = c.numbers.floats(K);
    const std::string what = cat(traits(format).name, " ", M, " x ", K);
    check_products(c, cat("rows of rms_norm, ", what), format, M, K,
                   [&](float* to, const RowsFor& how) {
                       RmsNormArgs args{x.data(), weight.data(), to, M, K, 1e-5f};
                       args.rows_for = how;
                       run(c.fast.rms_norm, args);
                   });
    check_products(c, cat("rows of layer_norm, ", what), format, M, K,
                   [&](float* to, const RowsFor& how) {
                       LayerNormArgs args{x.data(), weight.data(), nullptr, to, M, K, 1e-5f};
                       args.rows_for = how;
                       run(c.fast.layer_norm, args);
                   });
}

void check_after_product(Check& c, Format own, Format format, int64_t M, int64_t K, bool gated) {
    const PackedMatrix w = random_matrix(c, own, gated ? 2 * K : K, 50, gated);
    const PackedMatrix next = random_matrix(c, format, 32, 64, false);
    if (M > cuda::prepared_rows("matmul", own, next.view())) return;
    const Floats x = c.numbers.floats(M * 50), bias = c.numbers.floats(w.view().N);
    check_products(c,
                   cat("rows of ", traits(own).name, ", ", traits(format).name, " ", M, " x ", K),
                   format, M, K, [&](float* to, const RowsFor& how) {
                       Buffer scratch(c.fast.matmul_scratch_bytes(w.view(), M, 1));
                       MatmulArgs args{x.data(), w.view(),       bias.data(), nullptr,
                                       to,       scratch.data(), M,           Activation::silu};
                       args.rows_for = how;
                       run(c.fast.matmul, args);
                   });
}

}  // namespace

void check_prepared(Check& c) {
    for (Format format : {Format::bf16, Format::int8, Format::int4}) {
        const int64_t few = c.numbers.integer(3, 16), short_row = c.numbers.integer(1, 70);
        const int64_t row = c.numbers.integer(65, 300);
        const std::pair<int64_t, int64_t> sizes[] = {
            {1, row}, {2, 2083}, {few, row}, {66, short_row}};  // 2083: K in two parts
        for (auto [M, K] : sizes) {
            check_after_norm(c, format, M, K);
            const bool gated = c.numbers.integer(0, 1);
            for (Format own : {format, Format::int8, Format::f32})
                check_after_product(c, own, format, M, K, gated);
        }
    }
}

}  // namespace genfast
