// Tiles of pixels a block at a time: so many that a panel of weights is read for many of them, so
// few that what is transformed stays near until it is multiplied. Each block is one thread's, where
// there are enough.
#include "kernels/matmul/plan.h"
#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr int64_t kTogether = 192, kApart = 64;  // tiles
constexpr int64_t kTokens = 12;                  // of matmul's tiles, but for AMX

// How tiles of pixels are cut into blocks: of one thread each, as many for each of two or four, or
// of all threads together.
struct Cut {
    int64_t tiles, blocks, block;
    bool apart;

    Cut(const WinogradConv2dArgs& a, int threads) : tiles(winograd_tiles(a)) {
        apart = tiles >= 2 * kApart * threads;
        blocks = apart ? round_up(ceil_div(tiles, kApart), 4) : ceil_div(tiles, kTogether);
        block = ceil_div(ceil_div(tiles, kTokens), blocks) * kTokens;
        block = block < tiles ? block : tiles;
    }
    Range of(int64_t i) const {
        const int64_t all = ceil_div(tiles, kTokens), end = all * (i + 1) / blocks * kTokens;
        return {all * i / blocks * kTokens, end < tiles ? end : tiles};
    }
};

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

// A block. scratch, the team's: transformed pixels, their products, then matmul's.
void convolve(const WinogradConv2dArgs& a, Range tiles, int64_t block, std::byte* scratch,
              Team& team) {
    const int64_t P = a.w.N / kWinogradPlaces, count = tiles.end - tiles.begin;
    float* places = reinterpret_cast<float*>(scratch);
    float* sums = places + kWinogradPlaces * block * a.C;
    std::byte* rest = reinterpret_cast<std::byte*>(sums + kWinogradPlaces * block * P);
    const Range mine = share(count, team);
    for (int64_t t = mine.begin; t < mine.end; ++t)
        spread_tile(a, winograd_tile(a, tiles.begin + t), places + t * a.C, block * a.C);
    for (int place = 0; place < kWinogradPlaces; ++place) {
        team.sync();  // the places are there, and scratch is nobody's
        matmul({places + place * block * a.C, winograd_place(a, place), nullptr, nullptr,
                sums + place * block * P, rest, count, Activation::none},
               team);
    }
    team.sync();
    for (int64_t t = mine.begin; t < mine.end; ++t)
        gather_tile(a, winograd_tile(a, tiles.begin + t), sums + t * P, block * P);
}

size_t scratch_of_block(const WinogradConv2dArgs& a, const Cut& cut, int threads) {
    const int64_t P = a.w.N / kWinogradPlaces;
    return size_t(kWinogradPlaces * cut.block * (a.C + P)) * sizeof(float) +
           matmul_scratch_bytes(winograd_place(a, 0), cut.block, threads);
}

}  // namespace

void winograd_conv2d(const WinogradConv2dArgs& a, Team& team) {
    const Cut cut(a, team.count);
    if (!cut.apart) {
        for (int64_t i = 0; i < cut.blocks; ++i) convolve(a, cut.of(i), cut.block, a.scratch, team);
        return;
    }
    std::byte* own = a.scratch + scratch_of_block(a, cut, 1) * size_t(team.index);
    team.each_job(cut.blocks, [&](int64_t i) {
        Team alone;
        convolve(a, cut.of(i), cut.block, own, alone);
    });
}

size_t winograd_conv2d_scratch_bytes(const WinogradConv2dArgs& a, int threads) {
    // A smaller team may have blocks of its own where all have not.
    const Cut all(a, threads), one(a, 1);
    const int64_t most = all.tiles / (2 * kApart);
    const size_t apart = scratch_of_block(a, one, 1) * size_t(most < threads ? most : threads);
    const size_t together = all.apart ? 0 : scratch_of_block(a, all, threads);
    return apart > together ? apart : together;
}

}  // namespace genfast::GENFAST_ISA
