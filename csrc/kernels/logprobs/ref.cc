#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/table.h"

namespace genfast::ref {

void logprobs(const LogprobsArgs& a, Team& team) {
    if (team.index != 0) return;
    std::vector<int32_t> ids;
    double max = -HUGE_VAL, sum = 0;
    for (int64_t v = 0; v < a.V; ++v)
        if (a.logits[v] > -HUGE_VALF) {
            ids.push_back(int32_t(v));
            max = std::max(max, double(a.logits[v]));
        }
    for (int32_t id : ids) sum += std::exp(a.logits[id] - max);
    auto logprob = [&](int64_t v) {
        float x = a.logits[v];
        if (!(x > -HUGE_VALF)) return -HUGE_VALF;
        return a.normalised ? x : float(x - max - std::log(sum));
    };
    if (a.token_logprob) *a.token_logprob = logprob(a.token);
    std::sort(ids.begin(), ids.end(), [&](int32_t x, int32_t y) {
        return a.logits[x] > a.logits[y] || (a.logits[x] == a.logits[y] && x < y);
    });
    auto probability = [&](size_t i) { return std::exp(a.logits[ids[i]] - max) / sum; };
    if (a.entropy) {
        double mean = 0;
        for (size_t i = 0; i < ids.size(); ++i) mean += probability(i) * (a.logits[ids[i]] - max);
        *a.entropy = ids.empty() ? 0 : float(std::log(sum) - mean);
    }
    if (a.margin) {
        double first = ids.empty() ? 0 : probability(0);
        *a.margin = float(first - (ids.size() > 1 ? probability(1) : 0));
    }
    for (int64_t i = 0; i < a.top_n; ++i) {
        bool present = i < int64_t(ids.size());
        a.top_ids[i] = present ? ids[i] : -1;
        a.top_logprobs[i] = present ? logprob(ids[i]) : -HUGE_VALF;
    }
    if (a.all)
        for (int64_t v = 0; v < a.V; ++v) a.all[v] = logprob(v);
}

}  // namespace genfast::ref
