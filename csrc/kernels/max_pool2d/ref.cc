#include "kernels/table.h"

namespace genfast::ref {

void max_pool2d(const MaxPool2dArgs& a, Team& team) {
    const int64_t height = a.H / a.size, width = a.W / a.size;
    Range pixels = share(a.N * height * width, team);
    for (int64_t i = pixels.begin; i < pixels.end; ++i) {
        const int64_t n = i / (height * width), y = i / width % height, x = i % width;
        for (int64_t c = 0; c < a.C; ++c) {
            const float* first = a.x + ((n * a.H + y * a.size) * a.W + x * a.size) * a.C + c;
            float most = *first;
            for (int64_t tap = 1; tap < a.size * a.size; ++tap) {
                const float next = first[(tap / a.size * a.W + tap % a.size) * a.C];
                most = most < next ? next : most;
            }
            a.out[i * a.C + c] = most;
        }
    }
}

}  // namespace genfast::ref
