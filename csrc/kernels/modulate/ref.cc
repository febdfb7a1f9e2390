#include "kernels/activation/formula.h"
#include "kernels/table.h"

namespace genfast::ref {

void modulate(const ModulateArgs& a, Team& team) {
    Range rows = share(a.N * a.P, team);
    for (int64_t row = rows.begin; row < rows.end; ++row)
        for (int64_t c = 0; c < a.C; ++c) {
            const int64_t item = row / a.P * a.stride + c, at = row * a.C + c;
            double y = a.x[at];
            if (a.scale) y *= (a.plus_one ? 1.0 : 0.0) + a.scale[item];
            if (a.shift) y += a.shift[item];
            if (a.noise) y += a.noise[row % a.P];
            y = activate(a.activation, y);
            if (a.residual) y += a.residual[at];
            a.out[at] = float(y);
        }
}

void add(const AddArgs& a, Team& team) {
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t)
        for (int64_t c = 0; c < a.C; ++c)
            a.out[t * a.C + c] = a.x[t * a.C + c] + a.y[t % a.R * a.C + c];
}

}  // namespace genfast::ref
