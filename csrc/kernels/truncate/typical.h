// Typical tokens among many: how far from the mean of z the set reaches, found without sorting.
// A sample says between which two distances that is; what lies between is gathered, and passes that
// sum the weight within seven distances narrow it until few are left to be sorted.
#pragma once

#include "kernels/truncate/row.h"

namespace genfast::GENFAST_ISA {

constexpr float kFarthest = 180;    // no distance is larger: z is -88 to 0
constexpr int64_t kSortable = 512;  // tokens that are sorted
constexpr int kProbes = 7;

struct Points {
    float* distance;
    float* weight;
    int64_t n;
};

// The weight within `low` falls short of the target, the weight within `high` does not.
struct Bracket {
    float low, high;
    double within_low;
};

// mass[j]: the weight of all tokens within reach[j].
template <int count>
static void masses_within(const Points& points, const float* reach, double* mass) {
    for (int j = 0; j < count; ++j) mass[j] = 0;
    for (int64_t block = 0; block < points.n; block += kSumBlock) {
        int64_t end = points.n - block < kSumBlock ? points.n : block + kSumBlock;
        Vec sum[count];
        for (Vec& s : sum) s = vzero();
        each(block, end, [&](int64_t i, int some) {
            Vec d = load_some(points.distance + i, some), w = load_some(points.weight + i, some);
            for (int j = 0; j < count; ++j)
                sum[j] = vadd(sum[j], vselect_lt(vset(reach[j]), d, vzero(), w));
        });
        for (int j = 0; j < count; ++j) mass[j] += double(vsum(sum[j]));
    }
}

static int64_t count_between(const Points& points, float low, float high) {
    float above_low = key_value(order_key(low) + 1), above_high = key_value(order_key(high) + 1);
    return count_ge(points.distance, points.n, above_low) -
           count_ge(points.distance, points.n, above_high);
}

// Narrows until at most `few` tokens lie between, or nothing does but one distance.
static Bracket narrow(const Points& points, double target, Bracket b, int64_t few) {
    for (;;) {
        int64_t from = order_key(b.low), to = order_key(b.high);
        if (to - from <= 1 || count_between(points, b.low, b.high) <= few) return b;
        float probe[kProbes];
        double mass[kProbes];
        for (int j = 0; j < kProbes; ++j) {
            int64_t key = from + (to - from) * (j + 1) / (kProbes + 1);
            probe[j] = key_value(int32_t(key > from ? key : from + 1));
        }
        masses_within<kProbes>(points, probe, mass);
        for (int j = 0; j < kProbes; ++j) {
            if (mass[j] >= target) {
                b.high = probe[j];
                break;
            }
            b.low = probe[j];
            b.within_low = mass[j];
        }
    }
}

// Copies the points between low and high to `to`.
static void gather_between(const Points& points, float low, float high, Points& to) {
    to.n = 0;
    each(0, points.n, [&](int64_t i, int some) {
        Vec d = load_some(points.distance + i, some);
        uint32_t mask = vmask_gt(d, vset(low)) & vmask_ge(vset(high), d) & first_bits(some);
        vcompress(to.distance + to.n, d, mask);
        vcompress(to.weight + to.n, load_some(points.weight + i, some), mask);
        to.n += __builtin_popcount(mask);
    });
}

// The distance at which the weight reaches the target, exactly.
static float reach_of(const Points& points, double target, Bracket b, Points room) {
    b = narrow(points, target, b, kSortable);
    if (order_key(b.high) - int64_t(order_key(b.low)) <= 1) return b.high;
    gather_between(points, b.low, b.high, room);
    uint64_t numbers[kSortable], other[kSortable];
    for (int64_t i = 0; i < room.n; ++i) numbers[i] = candidate(-room.distance[i], i);
    const uint64_t* sorted = sort_candidates(numbers, other, room.n);
    for (int64_t i = 0; i < room.n; ++i) {
        int32_t at = candidate_index(sorted[i]);
        b.within_low += room.weight[at];
        if (b.within_low >= target) return room.distance[at];
    }
    return b.high;  // the last bits of sums in another order
}

// Where a sample, every kStride-th block, has it that the weight reaches this share of the total.
static Bracket guess_reach(const Points& points, double share, double size, Points sample) {
    sample.n = 0;
    for (int64_t i = kStride / 2 * kMaxBlock; i + kMaxBlock <= points.n; i += kStride * kMaxBlock)
        for (int64_t j = i; j < i + kMaxBlock; j += kLanes, sample.n += kLanes) {
            vstore(sample.distance + sample.n, vload(points.distance + j));
            vstore(sample.weight + sample.n, vload(points.weight + j));
        }
    double total;
    masses_within<1>(sample, &kFarthest, &total);
    double error = 0.002 + 2.5 * __builtin_sqrt(share * (1 - share) / size);
    Bracket all = {0, kFarthest, 0}, guess = all;
    if (share > error) guess.low = narrow(sample, (share - error) * total, all, 16).low;
    if (share + error < 1) guess.high = narrow(sample, (share + error) * total, all, 16).high;
    return guess;
}

// The smallest distance within which the weight reaches `target`. size: how many equal weights
// would say as much as the sample (search.h). room: as long as points, twice.
static float typical_reach(const Points& points, double target, double share, double size,
                           Points room, Points between) {
    const float nothing = 0;
    double mass[2];
    masses_within<1>(points, &nothing, mass);
    if (mass[0] >= target) return 0;
    Bracket all = {0, kFarthest, mass[0]};
    if (size < kEnough) return reach_of(points, target, all, room);
    Bracket guess = guess_reach(points, share, size, room);
    float ends[2] = {guess.low, guess.high};
    masses_within<2>(points, ends, mass);
    if (mass[0] >= target || mass[1] < target) return reach_of(points, target, all, room);
    gather_between(points, guess.low, guess.high, between);
    // Sums over what was gathered begin where it does.
    float reach = reach_of(between, target - mass[0], {guess.low, guess.high, 0}, room);
    return reach;
}

struct Typical {
    double mass, mean;  // of the weights, of z under them
};

static Typical typical_of(const Kept& k) {
    double sums[2];
    block_sums<2>(k.n, sums, [&](int64_t i, int count, Vec* part) {
        part[0] = k.w(i, count);
        part[1] = vmul(part[0], k.z(i, count));
    });
    return {sums[0], sums[1] / sums[0]};
}

// room: 3 * (2 * n floats)
static void keep_typical(const Kept& k, double p, Typical t, double size, float* room) {
    int64_t step = max_blocks(k.n) * kMaxBlock + kLanes;
    Points points = {room, k.weight, k.n};
    Vec mean = vset(float(t.mean));
    each(0, k.n, [&](int64_t i, int count) {
        vstore_n(points.distance + i, vabs(vsub(k.z(i, count), mean)), count);
    });
    Points first = {room + step, room + 2 * step, 0},
           second = {room + 3 * step, room + 4 * step, 0};
    Vec reach = vset(typical_reach(points, p * t.mass, p, size, first, second));
    drop(k, 0, k.n, [&](int64_t i, int count, Vec, Vec x, Vec none) {
        return vselect_lt(reach, load_some(points.distance + i, count), none, x);
    });
}

}  // namespace genfast::GENFAST_ISA
