#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/table.h"

namespace genfast::ref {

// bfloat16 is not rounded here: the reference is what it comes close to.
void full_attention(const FullAttentionArgs& a, Team& team) {
    const int64_t E = a.H * a.D;
    std::vector<double> weights(static_cast<size_t>(a.Tk));
    Range jobs = share(a.N * a.H * a.Tq, team);
    for (int64_t job = jobs.begin; job < jobs.end; ++job) {
        const int64_t n = job / (a.H * a.Tq), h = job / a.Tq % a.H, t = job % a.Tq;
        const int64_t seen = a.causal ? std::min(t + 1, a.Tk) : a.Tk;
        const float* q = a.q + (n * a.Tq + t) * E + h * a.D;
        double largest = -INFINITY, sum = 0;
        for (int64_t s = 0; s < seen; ++s) {
            const float* k = a.k + (n * a.Tk + s) * E + h * a.D;
            double score = 0;
            for (int64_t d = 0; d < a.D; ++d) score += double(q[d]) * k[d];
            score *= a.scale;
            if (a.bias) score += a.bias[((a.bias_per_head ? h : 0) * a.Tq + t) * a.Tk + s];
            if (a.mask) score += a.mask[n * a.Tk + s];
            weights[size_t(s)] = score;
            largest = std::max(largest, score);
        }
        for (int64_t s = 0; s < seen; ++s)
            sum += weights[size_t(s)] = std::exp(weights[size_t(s)] - largest);
        for (int64_t d = 0; d < a.D; ++d) {
            double total = 0;
            for (int64_t s = 0; s < seen; ++s)
                total += weights[size_t(s)] * a.v[(n * a.Tk + s) * E + h * a.D + d];
            a.out[(n * a.Tq + t) * E + h * a.D + d] = float(total / sum);
        }
    }
}

size_t full_attention_scratch_bytes(const FullAttentionArgs&, int) {
    return 0;
}

}  // namespace genfast::ref
