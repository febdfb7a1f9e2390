#include <algorithm>
#include <cmath>

#include "kernels/table.h"

namespace genfast::ref {

void bound(const BoundArgs& a, Team& team) {
    const double limit = a.limit;
    Range part = share(a.count, team);
    for (int64_t i = part.begin; i < part.end; ++i) {
        const double x = a.x[i];
        const double hard = std::isnan(x) ? x : std::clamp(x, -limit, limit);
        a.out[i] = float(a.soft ? limit * std::tanh(x / limit) : hard);
    }
}

}  // namespace genfast::ref
