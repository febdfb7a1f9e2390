#include <algorithm>

#include "kernels/rope/table.h"
#include "kernels/table.h"

namespace genfast::ref {

void rope_table(const RopeTableArgs& a, Team& team) {
    fill_rope_table(a, team);
}

void rope(const RopeArgs& a, Team& team) {
    int64_t half = a.R / 2;
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        const float* x = a.x + t * a.width;
        float* out = a.out + t * a.width;
        const float *cosine = a.table + t * a.R, *sine = cosine + half;
        if (out != x) std::copy(x, x + a.width, out);
        for (int64_t h = 0; h < a.heads; ++h) {
            float* head = out + h * a.D;
            for (int64_t i = 0; i < half; ++i) {
                float& first = head[a.interleaved ? 2 * i : i];
                float& second = head[a.interleaved ? 2 * i + 1 : i + half];
                double u = first, v = second;
                first = float(u * cosine[i] - v * sine[i]);
                second = float(v * cosine[i] + u * sine[i]);
            }
        }
    }
}

}  // namespace genfast::ref
