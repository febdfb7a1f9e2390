// Plain loops. Dense sums are in double; the quantised formats form the same integers as the fast
// kernels and finish in double.
#include <cmath>
#include <vector>

#include "kernels/activation/formula.h"
#include "kernels/table.h"
#include "quant/unpack.h"

namespace genfast::ref {
namespace {

// q = x * (127 / max|x|), ties to even; returns the scale, NaN for a row that is not finite.
// x [K] is rotated first where the format is int8.
float quantise_row(Format format, const float* row, int64_t K, int8_t* q) {
    std::vector<float> x(row, row + K);
    if (format == Format::int8) rotate(x.data(), K);
    float largest = 0, poison = 0;
    for (int64_t k = 0; k < K; ++k) {
        largest = std::fmax(largest, std::fabs(x[size_t(k)]));
        poison += x[size_t(k)] - x[size_t(k)];
    }
    if (poison != 0) return NAN;
    float inverse = int8::inverse_of(largest);
    for (int64_t k = 0; k < K; ++k) q[k] = int8_t(round_to_int(x[size_t(k)] * inverse));
    return int8::scale_of(largest);
}

// One row of the panel as the integers the fast kernels multiply.
double dot(const MatmulArgs& a, const std::byte* panel, int row, const float* x, const int8_t* q,
           float x_scale, const float* w) {
    const int64_t K = a.w.K;
    if (a.w.format == Format::int8) {
        const int8_t* quants = reinterpret_cast<const int8_t*>(panel);
        int64_t sum = 0;
        for (int64_t k = 0; k < K; ++k) sum += q[k] * quants[int8::index_in_panel(row, k)];
        return double(sum) * x_scale * int8::scales(panel, K)[row];
    }
    double total = 0;
    if (a.w.format == Format::int4) {
        for (int64_t k = 0; k < K;) {
            const std::byte* base = int4::group(panel, k / kGroup);
            int32_t sum = 0;
            for (int64_t end = k + kGroup < K ? k + kGroup : K; k < end; ++k)
                sum += q[k] * int4::quant_at(base, row, int(k % kGroup));
            total += double(sum) * f16_to_f32(reinterpret_cast<const uint16_t*>(base)[row]);
        }
        return total * x_scale;
    }
    const bool round = a.w.format == Format::bf16 || a.w.format == Format::fp8;
    for (int64_t k = 0; k < K; ++k)
        total += double(round ? bf16_to_f32(f32_to_bf16(x[k])) : x[k]) * w[k];
    return total;
}

}  // namespace

void matmul(const MatmulArgs& a, Team& team) {
    const int64_t K = a.w.K;
    const bool quantised = a.w.format == Format::int8 || a.w.format == Format::int4;
    const size_t bytes = panel_bytes(a.w.format, K);
    std::vector<int8_t> quants(quantised ? size_t(a.M * K) : 0);
    std::vector<float> x_scales(size_t(a.M), 1.0f), w(size_t(K), 0.0f);
    if (quantised)
        for (int64_t m = 0; m < a.M; ++m)
            x_scales[size_t(m)] =
                quantise_row(a.w.format, a.x + m * x_row(a), K, quants.data() + m * K);
    auto product = [&](int64_t m, int64_t n) {
        const auto [panel, row] = place_of(a.w, n);
        if (!quantised) unpack_row(a.w, n, 0, K, w.data());
        double sum =
            dot(a, a.w.data + size_t(panel) * bytes, row, a.x + m * x_row(a),
                quants.data() + (quants.empty() ? 0 : m * K), x_scales[size_t(m)], w.data());
        return a.bias ? sum + a.bias[n] : sum;
    };
    const int64_t N = outputs(a.w);
    Range columns = share(N, team);
    for (int64_t n = columns.begin; n < columns.end; ++n)
        for (int64_t m = 0; m < a.M; ++m) {
            double y = product(m, n);
            y = a.w.gated ? activate_gated(a.activation, y, product(m, N + n))
                          : activate(a.activation, y);
            if (a.residual) y += a.residual[m * out_row(a) + n];
            a.out[m * out_row(a) + n] = float(y);
        }
}

size_t matmul_scratch_bytes(const Matrix&, int64_t, int) {
    return 0;
}
const char* matmul_variant(Format) {
    return "ref";
}

}  // namespace genfast::ref
