#include <cmath>

#include "kernels/norm_groups.h"
#include "kernels/table.h"

namespace genfast::ref {

void rms_norm(const RmsNormArgs& a, Team& team) {
    each_group(a, team, [&](int64_t t, const float* x, int64_t first, float* out) {
        const float* weight = a.weight + first;
        const float* residual = a.residual ? a.residual + t * a.E : nullptr;
        double squares = 0;
        for (int64_t e = 0; e < a.E; ++e) squares += double(x[e]) * x[e];
        double factor = 1 / std::sqrt(squares / double(a.E) + a.eps);
        for (int64_t e = 0; e < a.E; ++e)
            out[e] = float(x[e] * factor * weight[e] + (residual ? residual[e] : 0));
    });
}

}  // namespace genfast::ref
