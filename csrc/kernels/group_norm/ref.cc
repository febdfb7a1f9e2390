#include <cmath>

#include "kernels/activation/formula.h"
#include "kernels/table.h"

namespace genfast::ref {

void group_norm(const GroupNormArgs& a, Team& team) {
    const int64_t D = a.C / a.groups;
    Range jobs = share(a.N * a.groups, team);
    for (int64_t job = jobs.begin; job < jobs.end; ++job) {
        const int64_t n = job / a.groups, first = job % a.groups * D;
        auto at = [&](int64_t p, int64_t c) {
            return double(a.x[(n * a.P + p) * a.C + c]) + (a.shift ? a.shift[n * a.C + c] : 0);
        };
        double sum = 0, squares = 0;
        for (int64_t p = 0; p < a.P; ++p)
            for (int64_t c = first; c < first + D; ++c) sum += at(p, c);
        const double mean = sum / double(a.P * D);
        for (int64_t p = 0; p < a.P; ++p)
            for (int64_t c = first; c < first + D; ++c)
                squares += (at(p, c) - mean) * (at(p, c) - mean);
        const double factor = 1 / std::sqrt(squares / double(a.P * D) + a.eps);
        for (int64_t p = 0; p < a.P; ++p)
            for (int64_t c = first; c < first + D; ++c) {
                double y = (at(p, c) - mean) * factor * (a.weight ? a.weight[c] : 1);
                y += a.bias ? a.bias[c] : 0;
                a.out[(n * a.P + p) * a.C + c] = float(activate(a.activation, y));
            }
    }
}

size_t group_norm_scratch_bytes(const GroupNormArgs&, int) {
    return 0;
}

}  // namespace genfast::ref
