// max_pool2d: out[n, y, x, c] = the largest x[n, y size + i, x size + j, c], 0 <= i, j < size
//   x [N, H, W, C] f32, out [N, H / size, W / size, C] f32; rows and columns that remain are left
//   out, as in torch
#pragma once

#include <cstdint>

namespace genfast {

struct MaxPool2dArgs {
    const float* x;
    float* out;
    int64_t N, H, W, C, size;
};

}  // namespace genfast
