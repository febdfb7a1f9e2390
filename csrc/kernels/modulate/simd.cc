#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

void modulate(const ModulateArgs& a, Team& team) {
    const Vec one = vset(a.plus_one ? 1.0f : 0.0f);
    Range rows = share(a.N * a.P, team);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
        const int64_t item = row / a.P * a.stride;
        const Vec noise = vset(a.noise ? a.noise[row % a.P] : 0.0f);
        for (int64_t c = 0; c < a.C; c += kLanes) {
            const int n = int(a.C - c < kLanes ? a.C - c : kLanes);
            const int64_t at = row * a.C + c;
            Vec y = vload_n(a.x + at, n);
            const Vec shift = a.shift ? vload_n(a.shift + item + c, n) : vzero();
            if (a.scale)
                y = vfma(y, vadd(one, vload_n(a.scale + item + c, n)), shift);
            else if (a.shift)
                y = vadd(y, shift);
            if (a.noise) y = vadd(y, noise);
            y = vactivate(a.activation, y);
            if (a.residual) y = vadd(y, vload_n(a.residual + at, n));
            vstore_n(a.out + at, y, n);
        }
    }
}

void add(const AddArgs& a, Team& team) {
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        const float *x = a.x + t * a.C, *y = a.y + t % a.R * a.C;
        for (int64_t c = 0; c < a.C; c += kLanes) {
            const int n = int(a.C - c < kLanes ? a.C - c : kLanes);
            vstore_n(a.out + t * a.C + c, vadd(vload_n(x + c, n), vload_n(y + c, n)), n);
        }
    }
}

}  // namespace genfast::GENFAST_ISA
