// A convolution's rows: row m of x, as matmul multiplies it, is what the kernel sees around output
// pixel `first + m`. The rows are put together as they are packed, never all at once.
#pragma once

#include <cstdint>
#include <cstring>

namespace genfast {

struct Patches {
    int64_t H, W, C;       // of the images x [N, H, W, C]
    int64_t out_h, out_w;  // of the result's
    int64_t kernel_h, kernel_w, stride;
    int64_t top, left;  // padding
    int64_t first;      // the output pixel of row 0, counted over all images
    float* rows;        // of each thread: kernel_h * kernel_w * C
    bool rotated;       // int8: the images hold numbers rotated already (rotation.h)
};

// out [kernel_h, kernel_w, C] = the pixels under output pixel `pixel`, zeros outside of the image
static inline void gather_patch(const Patches& p, const float* x, int64_t pixel, float* out) {
    const int64_t image = pixel / (p.out_h * p.out_w), at = pixel % (p.out_h * p.out_w);
    const int64_t y = at / p.out_w * p.stride - p.top, left = at % p.out_w * p.stride - p.left;
    const float* source = x + image * p.H * p.W * p.C;
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
