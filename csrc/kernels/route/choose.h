// The choice among scores, for route's kernels. No STL: per-ISA sources include it.
#pragma once

#include "kernels/route/route.h"

namespace genfast {

// The index of the largest of x[0..n) that is not used, the first of equals; -1: there is none.
template <class Number>
static inline int64_t largest_unused(const Number* x, const bool* used, int64_t n) {
    int64_t best = -1;
    for (int64_t i = 0; i < n; ++i)
        if (!used[i] && (best < 0 || x[i] > x[best])) best = i;
    return best;
}

// Marks in `chosen` the k experts that win by `merit` (score and bias).
template <class Number>
static inline void choose(const RouteArgs& a, const Number* merit, bool* chosen) {
    const int64_t size = a.experts / a.groups;
    bool out[kMaxExperts] = {}, kept[kMaxExperts] = {};
    if (a.groups > 1) {
        Number worth[kMaxExperts];
        for (int64_t g = 0; g < a.groups; ++g) {
            const Number* mine = merit + g * size;
            bool used[kMaxExperts] = {};
            const int64_t first = largest_unused(mine, used, size);
            worth[g] = mine[first];
            if (!a.bias || size < 2) continue;
            used[first] = true;
            worth[g] += mine[largest_unused(mine, used, size)];
        }
        for (int64_t i = 0; i < a.kept_groups; ++i)
            kept[largest_unused(worth, kept, a.groups)] = true;
        for (int64_t e = 0; e < a.experts; ++e) out[e] = !kept[e / size];
    }
    for (int64_t e = 0; e < a.experts; ++e) chosen[e] = false;
    for (int64_t i = 0; i < a.k; ++i) {
        const int64_t best = largest_unused(merit, out, a.experts);
        chosen[best] = out[best] = true;
    }
}

// The row of `out` from the chosen experts' weights.
template <class Number>
static inline void write_routes(const RouteArgs& a, const Number* weight, const bool* chosen,
                                float* out) {
    Number sum = 0;
    for (int64_t e = 0; e < a.experts; ++e)
        if (chosen[e]) sum += weight[e];
    const Number factor = a.renormalise ? Number(a.scale) / sum : Number(a.scale);
    int64_t i = 0;
    for (int64_t e = 0; e < a.experts; ++e) {
        if (!chosen[e]) continue;
        out[i] = float(e);
        out[a.k + i++] = float(weight[e] * factor);
    }
}

}  // namespace genfast
