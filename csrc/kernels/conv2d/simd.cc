#include "kernels/matmul/patches.h"
#include "kernels/table.h"
#include "quant/rotation.h"
#include "simd/rotation.h"

namespace genfast::GENFAST_ISA {
namespace {

// Packed rows of a block: written once, then read by every panel of weights while they are near.
#if defined(__AVX512F__)
constexpr int64_t kBlockBytes = 1 << 20, kLeastRows = 96;  // of whole tiles
#else
constexpr int64_t kBlockBytes = 8 << 20, kLeastRows = 384;
#endif

int64_t rows_of(const Conv2dArgs& a) {
    return a.N * a.out_h * a.out_w;
}

int64_t rows_a_block(const Conv2dArgs& a) {
    const bool floats = a.w.format == Format::f32 || a.w.format == Format::f16;
    const bool halves = a.w.format == Format::bf16 || a.w.format == Format::fp8;
    const int64_t bytes = floats ? 4 : halves ? 2 : 1;
    const int64_t rows = kBlockBytes / (a.w.K * bytes) / kLeastRows * kLeastRows;
    return rows < kLeastRows ? kLeastRows : rows;
}

bool is_matmul(const Conv2dArgs& a) {
    return a.kernel_h * a.kernel_w == 1 && a.stride == 1 && a.out_h == a.H && a.out_w == a.W;
}

// Enlarged images (a decoder's) would take too much memory twice.
constexpr int64_t kMostRotated = 64 << 20;

int64_t rotated_bytes(const Conv2dArgs& a) {
    const int64_t bytes = a.N * a.H * a.W * a.C * 4;
    return a.w.format == Format::int8 && a.C % kRotation == 0 && bytes <= kMostRotated ? bytes : 0;
}

void rotate_pixels(const float* x, Range pixels, int64_t C, float* out) {
    for (int64_t i = pixels.begin * C; i < pixels.end * C; i += kRotation) {
        Vec v[kRotatedVecs];
        for (int part = 0; part < kRotatedVecs; ++part) v[part] = vload(x + i + part * kLanes);
        rotate_chunk(v, kRotation);
        for (int part = 0; part < kRotatedVecs; ++part) vstore(out + i + part * kLanes, v[part]);
    }
}

}  // namespace

void conv2d(const Conv2dArgs& a, Team& team) {
    const int64_t M = rows_of(a), N = outputs(a.w);
    if (is_matmul(a))
        return matmul({a.x, a.w, a.bias, a.residual, a.out, a.scratch, M, a.activation}, team);
    // Scratch: each thread's patch, rotated images, then matmul's.
    float* rows = reinterpret_cast<float*>(a.scratch);
    float* rotated = rows + round_up(a.w.K * team.count, 16);
    std::byte* scratch = reinterpret_cast<std::byte*>(rotated) + rotated_bytes(a);
    const bool rotate = rotated_bytes(a) > 0;
    if (rotate) {
        rotate_pixels(a.x, share(a.N * a.H * a.W, team), a.C, rotated);
        team.sync();
    }
    const int64_t block = rows_a_block(a);
    for (int64_t first = 0; first < M; first += block) {
        if (first) team.sync();  // scratch is everybody's
        const Patches patches{a.H,      a.W,   a.C,    a.out_h, a.out_w, a.kernel_h, a.kernel_w,
                              a.stride, a.top, a.left, first,   rows,    rotate};
        const float* residual = a.residual ? a.residual + first * N : nullptr;
        const int64_t count = M - first < block ? M - first : block;
        matmul({rotate ? rotated : a.x, a.w, a.bias, residual, a.out + first * N, scratch, count,
                a.activation, &patches},
               team);
    }
}

size_t conv2d_scratch_bytes(const Conv2dArgs& a, int threads) {
    const int64_t M = rows_of(a), block = rows_a_block(a);
    if (is_matmul(a)) return matmul_scratch_bytes(a.w, M, threads);
    return size_t(round_up(a.w.K * threads, 16) * 4 + rotated_bytes(a)) +
           matmul_scratch_bytes(a.w, M < block ? M : block, threads);
}

}  // namespace genfast::GENFAST_ISA
