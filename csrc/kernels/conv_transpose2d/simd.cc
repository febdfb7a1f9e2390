#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

void conv_transpose2d(const ConvTranspose2dArgs& a, Team& team) {
    const int64_t M = a.N * a.H * a.W, O = a.channels(), height = a.side(a.H), width = a.side(a.W);
    float* parts = reinterpret_cast<float*>(a.scratch);
    std::byte* scratch = a.scratch + round_up(M * a.w.N * 4, 64);
    matmul({a.x, a.w, nullptr, nullptr, parts, scratch, M, Activation::none}, team);
    team.sync();
    Range pixels = share(a.N * height * width, team);
    for (int64_t p = pixels.begin; p < pixels.end; ++p) {
        const int64_t image = p / (height * width), at = p % (height * width);
        const float* own = parts + image * a.H * a.W * a.w.N;
        for (int64_t o = 0; o < O; o += kLanes) {
            const int n = int(O - o < kLanes ? O - o : kLanes);
            Vec sum = vzero();
            each_tap(a, at / width, at % width,
                     [&](int64_t ky, int64_t kx, int64_t pixel) GENFAST_MEMBER {
                         const float* part = own + pixel * a.w.N + (ky * a.kernel + kx) * O + o;
                         sum = vadd(sum, vload_n(part, n));
                     });
            if (a.bias) sum = vadd(sum, vload_n(a.bias + o, n));
            vstore_n(a.out + p * O + o, vactivate(a.activation, sum), n);
        }
    }
}

size_t conv_transpose2d_scratch_bytes(const ConvTranspose2dArgs& a, int threads) {
    const int64_t M = a.N * a.H * a.W;
    return size_t(round_up(M * a.w.N * 4, 64)) + matmul_scratch_bytes(a.w, M, threads);
}

}  // namespace genfast::GENFAST_ISA
