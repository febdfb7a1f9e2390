#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/table.h"
#include "kernels/truncate/candidates.h"

namespace genfast::ref {

static void keep_top_n_sigma(std::vector<int32_t>& ids, const float* logits, double n) {
    double mean = 0, squares = 0, count = double(ids.size());
    for (int32_t id : ids) mean += logits[id] / count;
    for (int32_t id : ids) squares += (logits[id] - mean) * (logits[id] - mean);
    double least = logits[ids[0]] - n * std::sqrt(squares / count);
    while (logits[ids.back()] < least) ids.pop_back();
}

void truncate(const TruncateArgs& a, Team& team) {
    if (team.index != 0) return;
    std::vector<int32_t> ids;  // largest first, equal ones by id
    for (int64_t v = 0; v < a.V; ++v)
        if (a.logits[v] > -HUGE_VALF) ids.push_back(int32_t(v));
    std::sort(ids.begin(), ids.end(), [&](int32_t x, int32_t y) {
        return a.logits[x] > a.logits[y] || (a.logits[x] == a.logits[y] && x < y);
    });
    if (ids.empty() || std::isinf(a.logits[ids[0]]))
        return keep_only(a, ids.empty() ? a.V : ids[0]);
    if (a.top_n_sigma > 0) keep_top_n_sigma(ids, a.logits, a.top_n_sigma);
    if (a.top_k > 0 && a.top_k < int64_t(ids.size())) ids.resize(size_t(a.top_k));

    std::vector<float> logits;
    for (int32_t id : ids) logits.push_back(a.logits[id]);
    std::vector<double> z(ids.size()), weight(ids.size());
    Sorted sorted{logits.data(), z.data(), weight.data(), 0, int64_t(ids.size())};
    weigh(sorted, a.temperature);
    keep_probable(a, sorted);
    if (a.typical_p < 1) keep_typical(sorted, a.typical_p);
    keep_after_typical(a, sorted);
    tell(a, sorted);
    std::fill(a.logits, a.logits + a.V, -HUGE_VALF);
    for (int64_t i = sorted.first; i < sorted.last; ++i)
        a.logits[ids[size_t(i)]] = logits[size_t(i)];
}

}  // namespace genfast::ref
