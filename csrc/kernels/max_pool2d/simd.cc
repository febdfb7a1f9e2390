#include "kernels/table.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

void max_pool2d(const MaxPool2dArgs& a, Team& team) {
    const int64_t height = a.H / a.size, width = a.W / a.size;
    Range rows = share(a.N * height, team);
    for (int64_t i = rows.begin; i < rows.end; ++i)
        for (int64_t x = 0; x < width; ++x) {
            const int64_t top = i / height * a.H + i % height * a.size;
            const float* first = a.x + (top * a.W + x * a.size) * a.C;
            for (int64_t c = 0; c < a.C; c += kLanes) {
                const int n = int(a.C - c < kLanes ? a.C - c : kLanes);
                Vec most = vload_n(first + c, n);
                for (int64_t tap = 1; tap < a.size * a.size; ++tap) {
                    const int64_t at = (tap / a.size * a.W + tap % a.size) * a.C + c;
                    const Vec next = vload_n(first + at, n);
                    most = vselect_lt(most, next, next, most);
                }
                vstore_n(a.out + (i * width + x) * a.C + c, most, n);
            }
        }
}

}  // namespace genfast::GENFAST_ISA
