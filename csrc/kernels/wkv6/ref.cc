#include <cmath>
#include <vector>

#include "kernels/table.h"

namespace genfast::ref {
namespace {

// One token of head h. before: null for zeros; may be `state`. A state is floats after every token:
// it must be what a chunk that ends there leaves.
void token(const Wkv6Args& args, int64_t h, int64_t t, const float* before, float* state) {
    const int64_t D = args.D, first = h * D, row = t * args.heads * D + first;
    const float* w = args.w + t * args.w_stride + first;
    std::vector<double> y;
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < D; ++j) {
        const int64_t at = j / kWkvLanes * D * kWkvLanes + j % kWkvLanes;
        double sum = 0;
        for (int64_t i = 0; i < D; ++i) {
            const int64_t place = at + i * kWkvLanes;
            const double old = before ? before[place] : 0;
            const double added = double(args.k[row + i]) * args.v[row + j];
            sum += args.r[row + i] * (old + args.u[first + i] * added);
            state[place] = float(std::exp(-std::exp(double(w[i]))) * old + added);
        }
        y.push_back(sum);
        mean += sum / double(D);
    }
    for (double x : y) variance += (x - mean) * (x - mean) / double(D);
    const double factor = 1 / std::sqrt(variance + args.eps);
    for (int64_t j = 0; j < D; ++j)
        args.out[row + j] =
            float(((y[size_t(j)] - mean) * factor * args.weight[first + j] + args.bias[first + j]) *
                  args.g[row + j]);
}

}  // namespace

void wkv6(const Wkv6Args& args, Team& team) {
    Range part = share(args.heads, team);
    const int64_t floats = wkv_state_floats(1, args.D);
    for (int64_t i = 0; i < args.span_count; ++i) {
        const SequenceSpan& span = args.spans[i];
        for (int64_t h = part.begin; h < part.end; ++h) {
            float* state = args.state.after(span) + h * floats;
            const float* old = args.state.before(span);
            if (old) old += h * floats;
            for (int64_t t = span.row; t < span.row + span.rows; ++t, old = state)
                token(args, h, t, old, state);
        }
    }
}

}  // namespace genfast::ref
