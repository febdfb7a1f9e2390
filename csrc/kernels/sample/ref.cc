#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/table.h"

namespace genfast::ref {

// The logits that can be drawn, largest first, equal ones by id.
static std::vector<int32_t> order(const SampleArgs& a) {
    std::vector<int32_t> ids;
    for (int64_t v = 0; v < a.V; ++v)
        if (a.logits[v] > -HUGE_VALF) ids.push_back(int32_t(v));
    std::sort(ids.begin(), ids.end(), [&](int32_t x, int32_t y) {
        return a.logits[x] > a.logits[y] || (a.logits[x] == a.logits[y] && x < y);
    });
    return ids;
}

static int32_t draw_token(const SampleArgs& a) {
    std::vector<int32_t> ids = order(a);
    if (ids.empty()) return -1;
    double max = a.logits[ids[0]];
    if (a.temperature == 0 || std::isinf(max)) return ids[0];
    if (a.top_k > 0 && a.top_k < int64_t(ids.size())) ids.resize(a.top_k);
    std::vector<double> weight;
    double total = 0;
    for (int32_t id : ids) {
        weight.push_back(std::exp((a.logits[id] - max) / a.temperature));
        total += weight.back();
    }
    size_t kept = weight.size();
    if (a.top_p < 1) {
        double sum = weight[0];
        for (kept = 1; kept < weight.size() && sum < a.top_p * total; ++kept) sum += weight[kept];
    }
    while (kept > 1 && weight[kept - 1] < a.min_p) --kept;
    double mass = 0, sum = 0;
    for (size_t i = 0; i < kept; ++i) mass += weight[i];
    for (size_t i = 0; i < kept; ++i) {
        sum += weight[i];
        if (sum > a.draw * mass) return ids[i];
    }
    return ids[kept - 1];
}

void sample(const SampleArgs& a, Team& team) {
    if (team.index == 0) *a.token = draw_token(a);
}

}  // namespace genfast::ref
