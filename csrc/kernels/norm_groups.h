// The rows of rms_norm and layer_norm, group by group.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/team.h"

namespace genfast {

// fn(row, x, column of the weight, out) for each group of E numbers of this thread's rows.
template <class Args, class Fn>
static inline void each_group(const Args& a, Team& team, Fn fn) {
    const int64_t used = a.groups * a.E, columns = a.columns ? a.columns : used;
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        const float* x = a.x + t * columns;
        float* out = a.out + t * columns;
        for (int64_t at = 0; at < used; at += a.E) fn(t, x + a.first + at, at, out + a.first + at);
        if (x == out) continue;
        const int64_t end = a.first + used;
        std::memcpy(out, x, size_t(a.first) * sizeof(float));
        std::memcpy(out + end, x + end, size_t(columns - end) * sizeof(float));
    }
}

}  // namespace genfast
