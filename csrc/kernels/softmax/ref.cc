#include <algorithm>
#include <cmath>

#include "kernels/table.h"

namespace genfast::ref {

void softmax(const SoftmaxArgs& a, Team& team) {
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        const float* x = a.x + t * a.V;
        float* out = a.out + t * a.V;
        double max = *std::max_element(x, x + a.V), sum = 0;
        for (int64_t v = 0; v < a.V; ++v) sum += std::exp(x[v] - max);
        double log_sum = std::log(sum);
        for (int64_t v = 0; v < a.V; ++v)
            out[v] = float(a.log ? x[v] - max - log_sum : std::exp(x[v] - max) / sum);
    }
}

}  // namespace genfast::ref
