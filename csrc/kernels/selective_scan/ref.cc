#include <algorithm>
#include <cmath>

#include "kernels/table.h"

namespace genfast::ref {
namespace {

double softplus(double x) {
    return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
}

}  // namespace

// The state is a float after every token: it must be what a chunk that ends there leaves.
void selective_scan(const SelectiveScanArgs& a, Team& team) {
    const int64_t channels = a.heads * a.head_dim;
    const int64_t blocks = (a.head_dim + kScanLanes - 1) / kScanLanes;
    Range part = share(channels, team);
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        for (int64_t c = part.begin; c < part.end; ++c) {
            const int64_t h = c / a.head_dim, p = c % a.head_dim;
            const int64_t group = h / (a.heads / a.groups), from = a.by_channel ? c : h;
            const int64_t at = (h * blocks + p / kScanLanes) * a.N * kScanLanes + p % kScanLanes;
            const float* before = a.state.before(span);
            for (int64_t t = span.row; t < span.row + span.rows; ++t) {
                double raw = a.dt.row(t)[from];
                if (a.dt_bias) raw += a.dt_bias[from];
                const double d = std::clamp<double>(softplus(raw), a.dt_min, a.dt_max);
                const double x = a.x.row(t)[c];
                double sum = a.D[c] * x;
                for (int64_t n = 0; n < a.N; ++n) {
                    const double decay =
                        std::exp(d * (a.by_channel ? a.A[n * channels + c] : a.A[h]));
                    const int64_t place = at + n * kScanLanes;
                    const double old = before ? before[place] : 0;
                    const float now = float(decay * old + d * x * a.B.row(t)[group * a.N + n]);
                    a.state.after(span)[place] = now;
                    sum += double(now) * a.C.row(t)[group * a.N + n];
                }
                before = a.state.after(span);
                if (a.z.data) {
                    const double z = a.z.row(t)[c];
                    sum *= z / (1 + std::exp(-z));
                }
                a.out[t * channels + c] = float(sum);
            }
        }
    }
}

}  // namespace genfast::ref
