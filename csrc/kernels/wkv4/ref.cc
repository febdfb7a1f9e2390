#include <algorithm>
#include <cmath>

#include "kernels/table.h"

namespace genfast::ref {

// The state is a float after every token: it must be what a chunk that ends there leaves.
void wkv4(const Wkv4Args& a, Team& team) {
    Range channels = share(a.C, team);
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        const float* old = a.state.before(span);
        float* kept = a.state.after(span);
        for (int64_t c = channels.begin; c < channels.end; ++c) {
            float sum = old ? old[c] : 0, weights = old ? old[a.C + c] : 0;
            float top = old ? old[2 * a.C + c] : kWkvNone;
            for (int64_t t = span.row; t < span.row + span.rows; ++t) {
                const double k = a.k[t * a.C + c], v = a.v[t * a.C + c];
                const double now = k + a.u[c], most = std::max<double>(top, now);
                const double before = std::exp(top - most), own = std::exp(now - most);
                a.out[t * a.C + c] = float((before * sum + own * v) / (before * weights + own));

                const double faded = double(top) + a.w[c], next = std::max(faded, k);
                const double keep = std::exp(faded - next), add = std::exp(k - next);
                sum = float(keep * sum + add * v);
                weights = float(keep * weights + add);
                top = float(next);
            }
            kept[c] = sum;
            kept[a.C + c] = weights;
            kept[2 * a.C + c] = top;
        }
    }
}

}  // namespace genfast::ref
