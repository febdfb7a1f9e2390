// Finding a place in the order of many numbers (largest first, equal ones by index) without sorting
// them: where the weight, or the count, of all up to there reaches a target. A sample says between
// which two values that is; one pass sums what lies above and gathers what lies between; halving
// finds the place among those few.
//
// Sums run in a fixed order (floats over blocks, blocks in double), so every instruction set finds
// the same place.
#pragma once

#include "simd/reduce.h"
#include "simd/topk.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kGroup = kSumBlock / kMaxBlock;  // blocks a float sum
constexpr int64_t kStride = 32;                    // of blocks, one is in the sample
constexpr double kEnough = 200;                    // a smaller sample says little
constexpr int32_t kGrain = 1 << 13;                // of keys: what a sample is searched to

// What is summed: the numbers themselves, or one for each.
enum class Measure { weight, count };

struct Row {
    const float* value;
    int64_t n, blocks;
    const float* maxima;  // of each block: at least the largest value in it
    // Room for the tokens near the place that is searched, [n + kLanes] each.
    float* near_values;
    int32_t* near_ids;
    float* sample;  // the values of every kStride-th block
    int64_t sampled;
    double sample_mass, sample_size;  // their sum, and how many equal ones would say as much

    // A block's values; NaN, which is in no interval, after the last.
    GENFAST_MEMBER void load(int64_t block, Vec (&v)[kMaxBlock / kLanes]) const {
        const float* p = value + block * kMaxBlock;
        int64_t left = n - block * kMaxBlock;
        if (left >= kMaxBlock) {
            for (int i = 0; i < kMaxBlock / kLanes; ++i) v[i] = vload(p + i * kLanes);
            return;
        }
        for (int i = 0; i < kMaxBlock / kLanes; ++i, left -= kLanes) {
            int some = left < 0 ? 0 : left < kLanes ? int(left) : kLanes;
            Vec nothing = vset(__builtin_nanf(""));
            v[i] = some ? vkeep_n(vload_n(p + i * kLanes, some), some, nothing) : nothing;
        }
    }
};

// A value, and the mass of all numbers with at least that value.
struct Known {
    float value;
    double mass;
};

// An index, the number there, and the mass up to and with it.
struct Place {
    float value;
    int32_t id;
    double mass;
};

// The mass of those of x[0..n) that are at least `limit`.
template <Measure measure>
static double mass_of(const float* x, int64_t n, float limit) {
    if (measure == Measure::count) return double(count_ge(x, n, limit));
    Vec from = vset(limit);
    return block_sum(n, [&](int64_t i, int left) {
        Vec v = left == kLanes ? vload(x + i) : vkeep_n(vload_n(x + i, left), left, vzero());
        return vadd_ge(vzero(), v, from);
    });
}

// Copies the numbers with low <= value < high, in order, and counts them; returns the mass of those
// with at least `high`.
template <Measure measure>
static double gather_near(const Row& row, float low, float high, int64_t* near) {
    Vec from = vset(low), to = vset(high);
    int32_t* ids = row.near_ids;
    constexpr uint64_t kLast = uint64_t(1) << 63;  // so that there is a bit to be found
    int64_t count = 0;
    double above = 0;
    for (int64_t first = 0; first < row.blocks; first += kGroup) {
        int64_t last = first + kGroup < row.blocks ? first + kGroup : row.blocks, whole = 0;
        Vec sum[2] = {vzero(), vzero()};
        for (int64_t block = first; block < last; ++block) {
            if (!(row.maxima[block] >= low)) continue;  // adding zeros would change no sum
            uint64_t mask = 0;
            Vec values[kMaxBlock / kLanes];
            row.load(block, values);
            for (int i = 0; i < kMaxBlock; i += kLanes) {
                Vec v = values[i / kLanes];
                uint32_t larger = vmask_ge(v, to);
                mask |= uint64_t(vmask_ge(v, from) & ~larger) << i;
                if (measure == Measure::count)
                    whole += __builtin_popcount(larger);
                else
                    sum[i / kLanes % 2] = vadd_ge(sum[i / kLanes % 2], v, to);
            }
            // Mostly there are a few. Four at a time, wanted or not, spare the CPU a guess for
            // each.
            int64_t end = count + __builtin_popcountll(mask);
            while (count < end) {
                for (int i = 0; i < 4; ++i, mask &= mask - 1)
                    ids[count + i] = int32_t(block * kMaxBlock) + __builtin_ctzll(mask | kLast);
                count += 4;
            }
            count = end;
        }
        above += measure == Measure::count ? double(whole) : double(vsum(vadd(sum[0], sum[1])));
    }
    for (int64_t i = 0; i < count; ++i) row.near_values[i] = row.value[ids[i]];
    *near = count;
    return above;
}

// Of the gathered numbers, keeps those with value >= limit, or the others.
static int64_t keep_near(const Row& row, int64_t count, float limit, bool upper) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i += kLanes) {
        Vec v = vload(row.near_values + i);
        VecI ids = iload(row.near_ids + i);
        uint32_t mask = vmask_ge(v, vset(limit)) ^ (upper ? 0 : 0xffffu);
        if (count - i < kLanes) mask &= (1u << (count - i)) - 1;
        vcompress(row.near_values + kept, v, mask);
        icompress(row.near_ids + kept, ids, mask);
        kept += __builtin_popcount(mask);
    }
    return kept;
}

// The place where `reached` becomes true among the `count` gathered numbers, which are those with
// low <= value < high.value; the last of them where rounding has it that it never does.
template <Measure measure, class Reached>
static Place place_near(const Row& row, int64_t count, float low, Known high, Reached reached) {
    auto mass = [](float value) { return measure == Measure::count ? 1.0 : double(value); };
    int32_t low_key = order_key(low), high_key = order_key(high.value);
    double above = high.mass;
    constexpr int64_t few = 24;
    while (count > few && int64_t(high_key) - low_key > 1) {
        int32_t mid = middle(low_key, high_key);
        double with = above + mass_of<measure>(row.near_values, count, key_value(mid));
        // Sums in another order may fall short of the target in their last bits: never drop all.
        bool upper = reached(with) || count_ge(row.near_values, count, key_value(mid)) == count;
        (upper ? low_key : high_key) = mid;
        if (!upper) above = with;
        count = keep_near(row, count, key_value(mid), upper);
    }
    Place place = {0, -1, above};
    if (count > few) {  // all equal
        place.value = row.near_values[0];
        int64_t from = 0, to = count - 1;  // the first whose mass reaches the target, or the last
        while (from < to) {
            int64_t mid = (from + to) / 2;
            if (reached(above + double(mid + 1) * mass(place.value)))
                to = mid;
            else
                from = mid + 1;
        }
        return {place.value, row.near_ids[from], above + double(from + 1) * mass(place.value)};
    }
    uint64_t numbers[few], other[few];
    for (int64_t i = 0; i < count; ++i) numbers[i] = candidate(row.near_values[i], row.near_ids[i]);
    const uint64_t* sorted = sort_candidates(numbers, other, count);
    for (int64_t i = 0; i < count; ++i) {
        place.id = candidate_index(sorted[i]);
        place.value = row.value[place.id];
        place.mass += mass(place.value);
        if (reached(place.mass)) break;
    }
    return place;
}

template <Measure measure>
static void take_sample(Row& row) {
    double squares = 0;
    row.sampled = 0;
    for (int64_t block = kStride / 2; block < row.blocks; block += kStride) {
        Vec sum = vzero(), values[kMaxBlock / kLanes];
        row.load(block, values);
        for (Vec v : values) {
            vstore(row.sample + row.sampled, v);
            row.sampled += kLanes;
            sum = vfma(v, v, sum);
        }
        squares += double(vsum(sum));
    }
    if (measure == Measure::count) {
        row.sample_mass = row.sample_size = double(row.sampled);
    } else {
        row.sample_mass = mass_of<measure>(row.sample, row.sampled, 0);
        row.sample_size = row.sampled ? row.sample_mass * row.sample_mass / squares : 0;
    }
}

// The key between low and high of a value that about this share of the sample's mass reaches.
template <Measure measure>
static int32_t sample_key(const Row& row, double share, int32_t low, int32_t high) {
    while (int64_t(high) - low > kGrain) {
        int32_t mid = middle(low, high);
        double mass = mass_of<measure>(row.sample, row.sampled, key_value(mid));
        (mass > share * row.sample_mass ? low : high) = mid;
    }
    return low;
}

// Between which values, within [low, high], the mass very likely reaches a share of the total.
struct Interval {
    float low, high;
};
template <Measure measure>
static Interval guess_place(const Row& row, double share, float low, float high) {
    double error = 0.002 + 2.5 * __builtin_sqrt(share * (1 - share) / row.sample_size);
    int32_t least = order_key(low), most = order_key(high);
    int32_t below =
        share + error < 1 ? sample_key<measure>(row, share + error, least, most) : least;
    int32_t above = share > error ? sample_key<measure>(row, share - error, below, most) : most;
    return {key_value(below), key_value(most - int64_t(above) > kGrain ? above + kGrain : most)};
}

}  // namespace genfast::GENFAST_ISA
