#include "kernels/table.h"
#include "simd/reduce.h"
#include "simd/topk.h"

namespace genfast::GENFAST_ISA {

void logprobs(const LogprobsArgs& a, Team& team) {
    if (team.index != 0) return;
    const float* x = a.logits;
    float* maxima = (float*)a.scratch;
    uint64_t* room = (uint64_t*)(a.scratch + (max_blocks(a.V) * sizeof(float) + 63) / 64 * 64);
    float max = block_maxima(x, a.V, maxima);
    Vec shift = vset(max), log2e = vset(1.44269504f), lowest = vset(-__builtin_inff());
    // Whatever is below 2^-126 of the largest, and NaN, counts as that: nothing beside the
    // largest's 1.
    double log_sum = __builtin_log(block_sum(a.V, [&](int64_t i, int n) {
        Vec v = n == kLanes ? vload(x + i) : vkeep_n(vload_n(x + i, n), n, lowest);
        return vexp2_down(vmul(vsub(v, shift), log2e), -126);
    }));
    auto logprob = [&](float value) {
        return value > -__builtin_inff() ? float(double(value) - max - log_sum) : -__builtin_inff();
    };
    if (a.token_logprob) *a.token_logprob = logprob(x[a.token]);
    Largest top = largest(x, a.V, maxima, max, a.top_n, room);
    for (int64_t i = 0; i < a.top_n; ++i) {
        int32_t id = i < top.count ? candidate_index(top.first[i]) : -1;
        a.top_ids[i] = id;
        a.top_logprobs[i] = id < 0 ? -__builtin_inff() : logprob(x[id]);
    }
}

}  // namespace genfast::GENFAST_ISA
