// rope_table's definition, the same for every instruction set: it runs once a step for all layers.
// Each file that includes it compiles its own copy.
#pragma once

#include "core/team.h"
#include "kernels/rope/rope.h"

namespace genfast {

static inline void fill_rope_table(const RopeTableArgs& a, Team& team) {
    int64_t half = a.R / 2;
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        int32_t position = a.positions[t];
        float* cosines = a.table + t * a.R;
        bool dynamic = a.dynamic_base > 0 && position >= a.dynamic_length;
        double base = 0;
        if (dynamic) {
            double stretch = a.dynamic_factor * (double(position) + 1) / double(a.dynamic_length) -
                             (a.dynamic_factor - 1);
            base = a.dynamic_base * __builtin_pow(stretch, double(a.R) / double(a.R - 2));
        }
        for (int64_t i = 0; i < half; ++i) {
            float frequency =
                dynamic ? float(__builtin_pow(base, double(-2 * i) / double(a.R))) : a.inv_freq[i];
            double angle = double(float(position) * frequency);
            cosines[i] = float(__builtin_cos(angle)) * a.scale;
            cosines[half + i] = float(__builtin_sin(angle)) * a.scale;
        }
    }
}

}  // namespace genfast
