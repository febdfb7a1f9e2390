#include <cmath>

#include "kernels/norm_groups.h"
#include "kernels/table.h"

namespace genfast::ref {

void layer_norm(const LayerNormArgs& a, Team& team) {
    each_group(a, team, [&](int64_t, const float* x, int64_t first, float* out) {
        const float *weight = a.weight + first, *bias = a.bias ? a.bias + first : nullptr;
        double sum = 0, squares = 0;
        for (int64_t e = 0; e < a.E; ++e) sum += x[e];
        double mean = sum / double(a.E);
        for (int64_t e = 0; e < a.E; ++e) squares += (x[e] - mean) * (x[e] - mean);
        double factor = 1 / std::sqrt(squares / double(a.E) + a.eps);
        for (int64_t e = 0; e < a.E; ++e)
            out[e] = float((x[e] - mean) * factor * weight[e] + (bias ? bias[e] : 0));
    });
}

}  // namespace genfast::ref
