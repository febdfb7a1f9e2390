// A convolution's rows: row m of x, as matmul multiplies it, is what the kernel sees around output
// pixel `first + m`. The rows are put together as they are packed, never all at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace genfast {

// The rows of pixels that some patches see, as they are packed: rotated for int8 (rotation.h),
// rounded for bf16, or the images themselves. Row r, counted over all images, lies at r % rows.
// Blocks of 64 columns lie within a pixel.
struct Band {
    const std::byte* pixels = nullptr;  // [rows, W, C]
    int64_t rows = 0;
    int bytes = 0;                   // of a number: f32, or bf16
    const float* largest = nullptr;  // [rows, W]: magnitude in a pixel; not finite if one is not
};

struct Patches {
    int64_t H, W, C;       // of the images x [N, H, W, C]
    int64_t out_h, out_w;  // of the result's
    int64_t kernel_h, kernel_w, stride;
    int64_t top, left;  // padding
    int64_t first;      // the output pixel of row 0, counted over all images
    Band band;          // or, where there is none,
    float* rows;        // of each thread: patches of a tile
};

// Where a patch begins: its images' first row, counted over all images, and the pixel in it.
struct Corner {
    int64_t image_row, y, x;
};

static inline Corner corner_of(const Patches& p, int64_t pixel) {
    const int64_t image = pixel / (p.out_h * p.out_w), at = pixel % (p.out_h * p.out_w);
    return {image * p.H, at / p.out_w * p.stride - p.top, at % p.out_w * p.stride - p.left};
}

// The pixel of the band under a tap of a patch, or -1 outside of the image.
static inline int64_t band_pixel(const Patches& p, const Corner& from, int64_t tap) {
    const int64_t y = from.y + tap / p.kernel_w, x = from.x + tap % p.kernel_w;
    if (y < 0 || y >= p.H || x < 0 || x >= p.W) return -1;
    return (from.image_row + y) % p.band.rows * p.W + x;
}

// out [kernel_h, kernel_w, C] = the pixels under output pixel `pixel`, zeros outside of the image
static inline void gather_patch(const Patches& p, const float* x, int64_t pixel, float* out) {
    const auto [image_row, y, left] = corner_of(p, pixel);
    const float* source = x + image_row * p.W * p.C;
    // Taps [first, last) of a row lie inside, side by side.
    const int64_t first = left < 0 ? (-left < p.kernel_w ? -left : p.kernel_w) : 0;
    int64_t last = p.W - left < p.kernel_w ? p.W - left : p.kernel_w;
    last = last < first ? first : last;
    for (int64_t ky = 0; ky < p.kernel_h; ++ky, out += p.kernel_w * p.C) {
        const bool inside = y + ky >= 0 && y + ky < p.H;
        const int64_t begin = inside ? first * p.C : p.kernel_w * p.C;
        const int64_t end = inside ? last * p.C : begin;
        std::memset(out, 0, size_t(begin) * sizeof(float));
        if (end > begin)
            std::memcpy(out + begin, source + ((y + ky) * p.W + left) * p.C + begin,
                        size_t(end - begin) * sizeof(float));
        std::memset(out + end, 0, size_t(p.kernel_w * p.C - end) * sizeof(float));
    }
}

}  // namespace genfast
