// conv2d with AMX: over emulated tile registers on any machine with AVX2, as amx.cc. The bits of a
// matmul of its patches, which amx.cc tests.
#include <cstring>
#include <memory>
#include <vector>

#include "core/cpu.h"
#include "core/thread_pool.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/matmul/patches.h"
#include "program/packed_matrix.h"
#include "selftest.h"

#if defined(GENFAST_X86)

namespace genfast {

namespace amx_emulated {
void matmul(const MatmulArgs&, Team&);
size_t matmul_scratch_bytes(const Matrix& w, int64_t M, int threads);
void conv2d(const Conv2dArgs&, Team&);
size_t conv2d_scratch_bytes(const Conv2dArgs& sizes, int threads);
}  // namespace amx_emulated

namespace {

using Floats = std::vector<float>;

// Full of what is NaN as bf16: what is not packed is seen.
class Scratch {
  public:
    explicit Scratch(size_t bytes) : memory_(bytes + 64, std::byte(0xff)) {
        void* start = memory_.data();
        size_t room = memory_.size();
        data_ = static_cast<std::byte*>(std::align(64, bytes, start, room));
    }
    std::byte* data() const { return data_; }

  private:
    std::vector<std::byte> memory_;
    std::byte* data_;
};

// Patches put together, and read where pixels lie ready: in one block, in several, of images that
// end within one, in a job for each thread.
constexpr int64_t kSizes[][5] = {{1, 5, 6, 3, 1},
                                 {2, 7, 5, 64, 2},
                                 {1, 6, 6, 128, 1},
                                 {3, 13, 12, 1280, 2},
                                 {1, 40, 41, 64, 1}};  // N, H, W, C, s

void has_the_bits_of_a_matmul(Format format) {
    constexpr int64_t O = 40;
    for (auto [N, H, W, C, stride] : kSizes) {
        const int64_t K = 9 * C, out_h = (H - 1) / stride + 1, out_w = (W - 1) / stride + 1;
        const int64_t M = N * out_h * out_w;
        const Floats x = noise(22, 1, N * H * W * C), numbers = noise(22, 2, O * K);
        const PackedMatrix weights = PackedMatrix::pack(
            format, {{numbers.data(), DType::f32, O, K, false}}, false, shared_pool(1));
        Floats rows(size_t(M * K)), want(size_t(M * O)), got(size_t(M * O));
        const Patches patches{H, W, C, out_h, out_w, 3, 3, stride, 1, 1, 0, {}, nullptr};
        for (int64_t m = 0; m < M; ++m) gather_patch(patches, x.data(), m, rows.data() + m * K);
        Team alone;
        const Scratch scratch(amx_emulated::matmul_scratch_bytes(weights.view(), M, 1));
        amx_emulated::matmul({rows.data(), weights.view(), nullptr, nullptr, want.data(),
                              scratch.data(), M, Activation::none},
                             alone);
        for (int threads : {1, 2}) {
            ThreadPool& pool = shared_pool(threads);
            Conv2dArgs a{nullptr, weights.view(),
                         nullptr, nullptr,
                         nullptr, nullptr,
                         N,       H,
                         W,       C,
                         out_h,   out_w,
                         3,       3,
                         stride,  1,
                         1,       Activation::none};
            const Scratch room(amx_emulated::conv2d_scratch_bytes(a, pool.size()));
            a.x = x.data(), a.out = got.data(), a.scratch = room.data();
            pool.run([&](Team& team) { amx_emulated::conv2d(a, team); });
            expect(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0,
                   "conv2d by AMX has the bits of a matmul of its patches");
        }
    }
}

}  // namespace

void amx_conv2d() {
    if (!cpu_features().avx2) return;  // amx_tiles tells
    for (Format format : {Format::bf16, Format::int8}) has_the_bits_of_a_matmul(format);
}

}  // namespace genfast

#else

namespace genfast {
void amx_conv2d() {}
}  // namespace genfast

#endif
