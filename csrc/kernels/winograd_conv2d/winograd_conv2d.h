// winograd_conv2d: a convolution of 3 x 3 taps, stride 1 and a border of one zero pixel, by
// Winograd's F(2 x 2, 3 x 3) (Lavin and Gray 2015, arXiv:1509.09308): 16 products of matrices give
// four output pixels from 16 input pixels, where the convolution itself takes 36.
//   x [N, H, W, C] f32; w a packed matrix [16 P, C]: of each 3 x 3 filter g the 4 x 4 numbers of
//   G g G^T, all of one place after those of another, where P is O rounded up to whole panels (rows
//   of zeros); bias [O]; residual, out [N, H, W, O] f32. C and O are multiples of 16.
//
// Numerics: of a tile d of 4 x 4 pixels (zeros around the image) B^T d B, first down, then across,
// is rounded to float after every addition; each of the 16 sums over C is matmul's; then A^T m A
// likewise, + bias, activation, + residual. A pixel's bits depend on its own tile alone. What is
// added and subtracted before and after costs digits: with f32 a bit or two, with formats that
// round (bf16, int8) several times the error of conv2d.
#pragma once

#include "kernels/matmul/matmul.h"

namespace genfast {

constexpr int kWinogradPlaces = 16;  // of a transformed tile or filter, row by row

struct WinogradConv2dArgs {
    const float* x;
    Matrix w;
    const float* bias;      // may be null
    const float* residual;  // may be null; may be out
    float* out;
    std::byte* scratch;  // winograd_conv2d_scratch_bytes, 64-byte aligned
    int64_t N, H, W, C, O;
    Activation activation;
};

struct WinogradTile {
    int64_t image, y, x;  // of its first output pixel
};

static inline int64_t winograd_tiles(const WinogradConv2dArgs& a) {
    return a.N * ((a.H + 1) / 2) * ((a.W + 1) / 2);
}

static inline WinogradTile winograd_tile(const WinogradConv2dArgs& a, int64_t tile) {
    const int64_t across = (a.W + 1) / 2, down = (a.H + 1) / 2;
    return {tile / (across * down), tile / across % down * 2, tile % across * 2};
}

// The matrix [P, C] of one place.
static inline Matrix winograd_place(const WinogradConv2dArgs& a, int place) {
    Matrix w = a.w;
    w.N = a.w.N / kWinogradPlaces;
    w.data += size_t(place * w.N / kPanelRows) * panel_bytes(w.format, w.K);
    return w;
}

}  // namespace genfast
