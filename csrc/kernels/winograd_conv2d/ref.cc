#include <vector>

#include "kernels/activation/formula.h"
#include "kernels/table.h"

namespace genfast::ref {

// All tiles at once, then sixteen of the reference's products, by one thread.
void winograd_conv2d(const WinogradConv2dArgs& a, Team& team) {
    if (team.index != 0) return;
    Team alone;
    const int64_t tiles = winograd_tiles(a), P = a.w.N / kWinogradPlaces;
    std::vector<float> places(size_t(kWinogradPlaces * tiles * a.C));
    std::vector<float> sums(size_t(kWinogradPlaces * tiles * P));
    for (int64_t t = 0; t < tiles; ++t)
        for (int64_t c = 0; c < a.C; ++c) {
            const auto [image, y, x] = winograd_tile(a, t);
            float d[4][4], down[4][4];
            for (int r = 0; r < 4; ++r)
                for (int s = 0; s < 4; ++s) {
                    const int64_t at_y = y - 1 + r, at_x = x - 1 + s;
                    const bool inside = at_y >= 0 && at_y < a.H && at_x >= 0 && at_x < a.W;
                    d[r][s] = inside ? a.x[((image * a.H + at_y) * a.W + at_x) * a.C + c] : 0;
                }
            for (int s = 0; s < 4; ++s) {
                down[0][s] = d[0][s] - d[2][s];
                down[1][s] = d[1][s] + d[2][s];
                down[2][s] = d[2][s] - d[1][s];
                down[3][s] = d[1][s] - d[3][s];
            }
            for (int r = 0; r < 4; ++r) {
                const float* row = down[r];
                const float v[4] = {row[0] - row[2], row[1] + row[2], row[2] - row[1],
                                    row[1] - row[3]};
                for (int s = 0; s < 4; ++s)
                    places[size_t(((r * 4 + s) * tiles + t) * a.C + c)] = v[s];
            }
        }
    for (int place = 0; place < kWinogradPlaces; ++place)
        matmul({places.data() + place * tiles * a.C, winograd_place(a, place), nullptr, nullptr,
                sums.data() + place * tiles * P, a.scratch, tiles, Activation::none},
               alone);
    for (int64_t t = 0; t < tiles; ++t)
        for (int64_t o = 0; o < a.O; ++o) {
            const auto [image, y, x] = winograd_tile(a, t);
            float m[4][4], down[2][4];
            for (int i = 0; i < kWinogradPlaces; ++i)
                m[i / 4][i % 4] = sums[size_t((i * tiles + t) * P + o)];
            for (int s = 0; s < 4; ++s) {
                down[0][s] = m[0][s] + m[1][s] + m[2][s];
                down[1][s] = m[1][s] - m[2][s] - m[3][s];
            }
            for (int r = 0; r < 2; ++r) {
                const float* row = down[r];
                const float pixels[2] = {row[0] + row[1] + row[2], row[1] - row[2] - row[3]};
                for (int s = 0; s < 2; ++s) {
                    if (y + r >= a.H || x + s >= a.W) continue;
                    const int64_t at = ((image * a.H + y + r) * a.W + x + s) * a.O + o;
                    float value = pixels[s] + (a.bias ? a.bias[o] : 0);
                    value = float(activate(a.activation, value));
                    a.out[at] = value + (a.residual ? a.residual[at] : 0);
                }
            }
        }
}

size_t winograd_conv2d_scratch_bytes(const WinogradConv2dArgs&, int) {
    return 0;
}

}  // namespace genfast::ref
