#include <vector>

#include "kernels/activation/formula.h"
#include "kernels/table.h"

namespace genfast::ref {

void conv_transpose2d(const ConvTranspose2dArgs& a, Team& team) {
    const int64_t M = a.N * a.H * a.W, O = a.channels(), height = a.side(a.H), width = a.side(a.W);
    std::vector<float> parts(size_t(M * a.w.N));
    Team alone;  // each thread has parts of its own
    matmul({a.x, a.w, nullptr, nullptr, parts.data(), nullptr, M, Activation::none}, alone);
    Range pixels = share(a.N * height * width, team);
    for (int64_t p = pixels.begin; p < pixels.end; ++p) {
        const int64_t image = p / (height * width), at = p % (height * width);
        for (int64_t o = 0; o < O; ++o) {
            double sum = 0;
            each_tap(a, at / width, at % width, [&](int64_t ky, int64_t kx, int64_t pixel) {
                const int64_t row = image * a.H * a.W + pixel;
                sum += parts[size_t(row * a.w.N + (ky * a.kernel + kx) * O + o)];
            });
            a.out[p * O + o] = float(activate(a.activation, a.bias ? sum + a.bias[o] : sum));
        }
    }
}

size_t conv_transpose2d_scratch_bytes(const ConvTranspose2dArgs&, int) {
    return 0;
}

}  // namespace genfast::ref
