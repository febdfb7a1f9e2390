#include <cmath>

#include "kernels/table.h"

namespace genfast::ref {

void rms_norm(const RmsNormArgs& a, Team& team) {
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        const float* x = a.x + t * a.E;
        float* out = a.out + t * a.E;
        double squares = 0;
        for (int64_t e = 0; e < a.E; ++e) squares += double(x[e]) * x[e];
        double factor = 1 / std::sqrt(squares / double(a.E) + a.eps);
        for (int64_t e = 0; e < a.E; ++e) out[e] = float(x[e] * factor * a.weight[e]);
    }
}

}  // namespace genfast::ref
