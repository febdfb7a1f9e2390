// Typical tokens among many: how far from the mean of z the set reaches, found without sorting.
// Passes that sum the weight within seven distances narrow it; the few between two are sorted.
#pragma once

#include "kernels/truncate/row.h"

namespace genfast::GENFAST_ISA {

struct Distance {
    const Kept& kept;
    Vec mean;
    GENFAST_MEMBER Vec operator()(int64_t i, int count) const {
        return vabs(vsub(kept.z(i, count), mean));
    }
};

constexpr int kProbes = 7;

// mass[j]: the weight of all tokens within reach[j].
static void masses_within(const Distance& distance, const float* reach, double* mass) {
    const Kept& k = distance.kept;
    for (int j = 0; j < kProbes; ++j) mass[j] = 0;
    for (int64_t block = 0; block < k.n; block += kSumBlock) {
        int64_t end = k.n - block < kSumBlock ? k.n : block + kSumBlock;
        Vec sum[kProbes];
        for (Vec& s : sum) s = vzero();
        each(block, end, [&](int64_t i, int count) {
            Vec d = distance(i, count), w = k.w(i, count);
            for (int j = 0; j < kProbes; ++j)
                sum[j] = vadd(sum[j], vselect_lt(vset(reach[j]), d, vzero(), w));
        });
        for (int j = 0; j < kProbes; ++j) mass[j] += double(vsum(sum[j]));
    }
}

// Calls take(index) for every kept token with low < distance <= high, in order.
template <class Take>
GENFAST_INLINE void each_between(const Distance& distance, float low, float high, Take take) {
    const Kept& k = distance.kept;
    each(0, k.n, [&](int64_t i, int count) {
        Vec d = distance(i, count);
        uint32_t mask =
            vmask_gt(d, vset(low)) & vmask_ge(vset(high), d) & vmask_gt(k.w(i, count), vzero());
        for (; mask; mask &= mask - 1) take(i + __builtin_ctz(mask));
    });
}

// The smallest distance within which the weight reaches `target`. numbers: room for 2 * few.
static float typical_reach(const Distance& distance, double target, int64_t few,
                           uint64_t* numbers) {
    float probe[kProbes] = {0, 0.125f, 0.5f, 1, 2, 4, 8};
    float low = -1, high = 180;  // the weight within low is short of the target, within high is not
    double within_low = 0, mass[kProbes];
    for (;;) {
        masses_within(distance, probe, mass);
        for (int j = 0; j < kProbes; ++j) {
            if (!(mass[j] >= target)) {
                low = probe[j];
                within_low = mass[j];
            } else {
                high = probe[j];
                break;
            }
        }
        int64_t from = order_key(low), to = order_key(high);
        if (low < 0 || to - from <= 1) return high;
        int64_t count = 0;
        each_between(distance, low, high, [&](int64_t) { ++count; });
        if (count <= few) break;
        for (int j = 0; j < kProbes; ++j) {
            int64_t key = from + (to - from) * (j + 1) / (kProbes + 1);
            probe[j] = key_value(int32_t(key > from ? key : from + 1));
        }
    }
    int64_t count = 0;
    const Kept& k = distance.kept;
    auto of = [&](int64_t i) {
        float lanes[kLanes];
        vstore(lanes, distance(i, 1));
        return lanes[0];
    };
    each_between(distance, low, high, [&](int64_t i) { numbers[count++] = candidate(-of(i), i); });
    const uint64_t* sorted = sort_candidates(numbers, numbers + few, count);
    double sum = within_low;
    for (int64_t i = 0; i < count; ++i) {
        int32_t id = candidate_index(sorted[i]);
        sum += k.weight[id];
        if (sum >= target) return of(id);
    }
    return high;  // the last bits of sums in another order
}

// numbers: room for 2 * few
static void keep_typical(const Kept& k, double p, int64_t few, uint64_t* numbers) {
    double mass = mass_of(k);
    double mean =
        block_sum(k.n, [&](int64_t i, int count) { return vmul(k.w(i, count), k.z(i, count)); });
    Distance distance{k, vset(float(mean / mass))};
    Vec reach = vset(typical_reach(distance, p * mass, few, numbers));
    drop(k, 0, k.n, [&](int64_t i, int count, Vec, Vec x, Vec none) {
        return vselect_lt(reach, distance(i, count), none, x);
    });
}

}  // namespace genfast::GENFAST_ISA
