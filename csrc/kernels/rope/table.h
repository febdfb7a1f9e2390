// rope_table's definition, the same for every instruction set and on a GPU: it runs once a step for
// all layers. Each file that includes it compiles its own copy.
#pragma once

#include "core/anywhere.h"
#include "core/team.h"
#include "kernels/rope/rope.h"

namespace genfast {

// Of the token's angles: b, where its position is beyond those the model was made for; else 0.
GENFAST_ANYWHERE double dynamic_base(const RopeTableArgs& a, int32_t position) {
    if (a.dynamic_base <= 0 || position < a.dynamic_length) return 0;
    double stretch = a.dynamic_factor * (double(position) + 1) / double(a.dynamic_length) -
                     (a.dynamic_factor - 1);
    return a.dynamic_base * __builtin_pow(stretch, double(a.R) / double(a.R - 2));
}

GENFAST_ANYWHERE void set_angle(const RopeTableArgs& a, int64_t t, int64_t i, double base) {
    int64_t half = a.R / 2;
    float frequency =
        base > 0 ? float(__builtin_pow(base, double(-2 * i) / double(a.R))) : a.inv_freq[i];
    double angle = double(float(a.positions[t]) * frequency);
    float* cosines = a.table + t * a.R;
    cosines[i] = float(__builtin_cos(angle)) * a.scale;
    cosines[half + i] = float(__builtin_sin(angle)) * a.scale;
}

static inline void fill_rope_table(const RopeTableArgs& a, Team& team) {
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        double base = dynamic_base(a, a.positions[t]);
        for (int64_t i = 0; i < a.R / 2; ++i) set_angle(a, t, i, base);
    }
}

}  // namespace genfast
