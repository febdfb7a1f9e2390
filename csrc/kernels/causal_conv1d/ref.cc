#include <vector>

#include "kernels/activation/formula.h"
#include "kernels/table.h"

namespace genfast::ref {

void causal_conv1d(const CausalConv1dArgs& a, Team& team) {
    const int64_t before = a.W - 1;
    Range channels = share(a.C, team);
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        const float* old = a.state.before(span);
        float* kept = a.state.after(span);
        for (int64_t c = channels.begin; c < channels.end; ++c) {
            std::vector<float> x;  // of the tokens before this step, then of its rows
            for (int64_t j = 0; j < before; ++j) x.push_back(old ? old[j * a.C + c] : 0);
            for (int64_t t = 0; t < span.rows; ++t)
                x.push_back(a.x[(span.row + t) * a.columns + a.first + c]);
            for (int64_t t = 0; t < span.rows; ++t) {
                double sum = a.bias ? a.bias[c] : 0;
                for (int64_t k = 0; k < a.W; ++k)
                    sum += double(a.weight[k * a.C + c]) * x[size_t(t + k)];
                a.out[(span.row + t) * a.C + c] = float(activate(a.activation, sum));
            }
            for (int64_t j = 0; j < before; ++j) kept[j * a.C + c] = x[size_t(span.rows + j)];
        }
    }
}

}  // namespace genfast::ref
