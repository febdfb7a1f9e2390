#include "kernels/table.h"
#include "simd/reduce.h"
#include "simd/topk.h"

namespace genfast::GENFAST_ISA {

// vmax gives its second argument when either is NaN.
static void write_all(const float* x, int64_t n, float max, float log_sum, float* to) {
    Vec shift = vset(max), less = vset(log_sum), lowest = vset(-__builtin_inff());
    auto logprob = [&](Vec v) { return vmax(vsub(vsub(v, shift), less), lowest); };
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) vstore(to + i, logprob(vload(x + i)));
    if (i < n) vstore_n(to + i, logprob(vload_n(x + i, int(n - i))), int(n - i));
}

void logprobs(const LogprobsArgs& a, Team& team) {
    if (team.index != 0) return;
    const float* x = a.logits;
    float* maxima = (float*)a.scratch;
    uint64_t* room = (uint64_t*)(a.scratch + (max_blocks(a.V) * sizeof(float) + 63) / 64 * 64);
    float max = block_maxima(x, a.V, maxima);
    Vec shift = vset(max), lowest = vset(-__builtin_inff());
    // Whatever is below 2^-126 of the largest, and NaN, counts as that: nothing beside the
    // largest's 1. sums: of the weights 2^z, and of these times z = (x - max) / ln 2.
    double sums[2] = {1, 0};
    if (!a.normalised)
        block_sums<2>(a.V, sums, [&](int64_t i, int n, Vec* part) {
            Vec v = n == kLanes ? vload(x + i) : vkeep_n(vload_n(x + i, n), n, lowest);
            Vec z = vmax(vmul(vsub(v, shift), vset(1.44269504f)), vset(-126));
            part[0] = vexp2_within(z);
            part[1] = vmul(part[0], z);
        });
    double log_sum = __builtin_log(sums[0]);
    auto logprob = [&](float value) {
        if (!(value > -__builtin_inff())) return -__builtin_inff();
        return a.normalised ? value : float(double(value) - max - log_sum);
    };
    if (a.token_logprob) *a.token_logprob = logprob(x[a.token]);
    if (a.entropy) {
        bool any = max > -__builtin_inff();
        *a.entropy = any ? float(log_sum - sums[1] / sums[0] * 0.69314718055994531) : 0;
    }
    // The margin needs two.
    int64_t most = a.top_n < 2 && a.margin ? 2 : a.top_n;
    Largest top = largest(x, a.V, maxima, max, most, room);
    if (a.margin) {
        auto probability = [&](int64_t i) {
            if (i >= top.count) return 0.0;
            return __builtin_exp(double(x[candidate_index(top.first[i])]) - max - log_sum);
        };
        *a.margin = float(probability(0) - probability(1));
    }
    for (int64_t i = 0; i < a.top_n; ++i) {
        int32_t id = i < top.count ? candidate_index(top.first[i]) : -1;
        a.top_ids[i] = id;
        a.top_logprobs[i] = id < 0 ? -__builtin_inff() : logprob(x[id]);
    }
    if (a.all) write_all(x, a.V, max, float(log_sum), a.all);
}

}  // namespace genfast::GENFAST_ISA
