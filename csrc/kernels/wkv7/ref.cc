#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/table.h"

namespace genfast::ref {
namespace {

double sigmoid(double x) {
    return 1 / (1 + std::exp(-x));
}

// One token of head h. before: null for zeros; may be `state`. A state is floats after every token:
// it must be what a chunk that ends there leaves.
void token(const Wkv7Args& args, int64_t h, int64_t t, const float* before, float* state) {
    const int64_t D = args.D, first = h * D, row = t * args.heads * D + first;
    std::vector<double> decay, rate, q, key, u, y;
    double squares = 0, bonus = 0, mean = 0, variance = 0;
    for (int64_t i = 0; i < D; ++i) {
        const double k = args.k[row + i];
        decay.push_back(std::exp(-std::exp(-0.5) * sigmoid(args.w[row + i])));
        rate.push_back(sigmoid(args.a[row + i]));
        q.push_back(k * args.k_k[first + i]);
        key.push_back(k * (1 + (rate.back() - 1) * args.k_a[first + i]));
        u.push_back(args.v[row + i]);
        if (args.m) u.back() += (args.v_first[row + i] - u.back()) * sigmoid(args.m[row + i]);
        squares += q.back() * q.back();
        bonus += args.r[row + i] * key.back() * args.r_k[first + i];
    }
    for (double& x : q) x /= std::max(std::sqrt(squares), 1e-12);
    for (int64_t j = 0; j < D; ++j) {
        const int64_t at = j / kWkvLanes * D * kWkvLanes + j % kWkvLanes;
        double removed = 0, sum = 0;
        for (int64_t i = 0; before && i < D; ++i)
            removed -= before[at + i * kWkvLanes] * q[size_t(i)];
        for (int64_t i = 0; i < D; ++i) {
            const int64_t place = at + i * kWkvLanes;
            const double old = before ? before[place] : 0;
            state[place] = float(decay[size_t(i)] * old + q[size_t(i)] * rate[size_t(i)] * removed +
                                 key[size_t(i)] * u[size_t(j)]);
            sum += double(state[place]) * args.r[row + i];
        }
        y.push_back(sum);
        mean += sum / double(D);
    }
    for (double x : y) variance += (x - mean) * (x - mean) / double(D);
    const double factor = 1 / std::sqrt(variance + args.eps);
    for (int64_t j = 0; j < D; ++j)
        args.out[row + j] = float(((y[size_t(j)] - mean) * factor * args.weight[first + j] +
                                   args.bias[first + j] + bonus * u[size_t(j)]) *
                                  args.g[row + j]);
}

}  // namespace

void wkv7(const Wkv7Args& args, Team& team) {
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
