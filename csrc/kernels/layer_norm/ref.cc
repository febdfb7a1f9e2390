#include <cmath>

#include "kernels/table.h"

namespace genfast::ref {

void layer_norm(const LayerNormArgs& a, Team& team) {
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        const float* x = a.x + t * a.E;
        float* out = a.out + t * a.E;
        double sum = 0, squares = 0;
        for (int64_t e = 0; e < a.E; ++e) sum += x[e];
        double mean = sum / double(a.E);
        for (int64_t e = 0; e < a.E; ++e) squares += (x[e] - mean) * (x[e] - mean);
        double factor = 1 / std::sqrt(squares / double(a.E) + a.eps);
        for (int64_t e = 0; e < a.E; ++e)
            out[e] = float((x[e] - mean) * factor * a.weight[e] + (a.bias ? a.bias[e] : 0));
    }
}

}  // namespace genfast::ref
