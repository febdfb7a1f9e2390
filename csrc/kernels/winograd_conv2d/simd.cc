// Tiles of pixels a block at a time: so many that a panel of weights is read for many of them, so
// few that what is transformed stays in the last cache until it is multiplied.
#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr int64_t kBlock = 192;  // tiles; whole ones of matmul's

int64_t block_of(const WinogradConv2dArgs& a) {
    const int64_t tiles = winograd_tiles(a);
    return tiles < kBlock ? tiles : kBlock;
}

// B^T v of four vectors.
GENFAST_INLINE void transform_input(Vec v0, Vec v1, Vec v2, Vec v3, Vec (&out)[4]) {
    out[0] = vsub(v0, v2);
    out[1] = vadd(v1, v2);
    out[2] = vsub(v2, v1);
    out[3] = vsub(v1, v3);
}

// A^T v.
GENFAST_INLINE void transform_sums(Vec v0, Vec v1, Vec v2, Vec v3, Vec (&out)[2]) {
    out[0] = vadd(vadd(v0, v1), v2);
    out[1] = vsub(vsub(v1, v2), v3);
}

// places [16, block, C]: one tile's, `step` floats from one place to the next.
void spread_tile(const WinogradConv2dArgs& a, WinogradTile tile, float* places, int64_t step) {
    const float* pixels[4][4];  // null outside of the image
    for (int r = 0; r < 4; ++r)
        for (int s = 0; s < 4; ++s) {
            const int64_t y = tile.y - 1 + r, x = tile.x - 1 + s;
            const bool inside = y >= 0 && y < a.H && x >= 0 && x < a.W;
            pixels[r][s] = inside ? a.x + ((tile.image * a.H + y) * a.W + x) * a.C : nullptr;
        }
    for (int64_t c = 0; c < a.C; c += kLanes) {
        auto pixel = [&](int r, int s) { return pixels[r][s] ? vload(pixels[r][s] + c) : vzero(); };
        Vec columns[4][4], row[4];
        for (int s = 0; s < 4; ++s)
            transform_input(pixel(0, s), pixel(1, s), pixel(2, s), pixel(3, s), columns[s]);
        for (int r = 0; r < 4; ++r) {
            transform_input(columns[0][r], columns[1][r], columns[2][r], columns[3][r], row);
            for (int s = 0; s < 4; ++s) vstore(places + (r * 4 + s) * step + c, row[s]);
        }
    }
}

// sums [16, block, P]: the output pixels of one tile.
void gather_tile(const WinogradConv2dArgs& a, WinogradTile tile, const float* sums, int64_t step) {
    for (int64_t o = 0; o < a.O; o += kLanes) {
        auto sum = [&](int r, int s) { return vload(sums + (r * 4 + s) * step + o); };
        const Vec bias = a.bias ? vload(a.bias + o) : vzero();
        Vec columns[4][2], pixels[2];
        for (int s = 0; s < 4; ++s)
            transform_sums(sum(0, s), sum(1, s), sum(2, s), sum(3, s), columns[s]);
        for (int r = 0; r < 2; ++r) {
            transform_sums(columns[0][r], columns[1][r], columns[2][r], columns[3][r], pixels);
            for (int s = 0; s < 2; ++s) {
                if (tile.y + r >= a.H || tile.x + s >= a.W) continue;
                const int64_t pixel = (tile.image * a.H + tile.y + r) * a.W + tile.x + s;
                Vec y = vactivate(a.activation, vadd(pixels[s], bias));
                if (a.residual) y = vadd(y, vload(a.residual + pixel * a.O + o));
                vstore(a.out + pixel * a.O + o, y);
            }
        }
    }
}

}  // namespace

void winograd_conv2d(const WinogradConv2dArgs& a, Team& team) {
    const int64_t P = a.w.N / kWinogradPlaces, block = block_of(a), tiles = winograd_tiles(a);
    // Scratch: transformed pixels, their products, then matmul's.
    float* places = reinterpret_cast<float*>(a.scratch);
    float* sums = places + kWinogradPlaces * block * a.C;
    std::byte* scratch = reinterpret_cast<std::byte*>(sums + kWinogradPlaces * block * P);
    for (int64_t first = 0; first < tiles; first += block) {
        const int64_t count = tiles - first < block ? tiles - first : block;
        const Range mine = share(count, team);
        for (int64_t t = mine.begin; t < mine.end; ++t)
            spread_tile(a, winograd_tile(a, first + t), places + t * a.C, block * a.C);
        for (int place = 0; place < kWinogradPlaces; ++place) {
            team.sync();  // the places are there, and scratch is nobody's
            matmul({places + place * block * a.C, winograd_place(a, place), nullptr, nullptr,
                    sums + place * block * P, scratch, count, Activation::none},
                   team);
        }
        team.sync();
        for (int64_t t = mine.begin; t < mine.end; ++t)
            gather_tile(a, winograd_tile(a, first + t), sums + t * P, block * P);
    }
}

size_t winograd_conv2d_scratch_bytes(const WinogradConv2dArgs& a, int threads) {
    const int64_t block = block_of(a), P = a.w.N / kWinogradPlaces;
    return size_t(kWinogradPlaces * block * (a.C + P)) * sizeof(float) +
           matmul_scratch_bytes(winograd_place(a, 0), block, threads);
}

}  // namespace genfast::GENFAST_ISA
