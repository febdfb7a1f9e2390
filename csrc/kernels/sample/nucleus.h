// Drawing from a wide distribution without sorting it (search.h). Weights are floats: tokens whose
// weights are equal as floats count as ties.
#pragma once

#include "kernels/sample/sample.h"
#include "kernels/sample/top_k.h"
#include "simd/math.h"

namespace genfast::GENFAST_ISA {

constexpr float kLeastWeight = 0x1p-125f;  // anything smaller is never drawn

struct Weights {
    Row row;          // of e^((logit - max) / temperature), 1 to 2^-126: [blocks * kMaxBlock]
    float* value;     // row.value
    float* maxima;    // row.maxima
    Known known[64];  // what was summed so far, the largest value first
    int count;
};

// Computes the weights and returns their sum: mass_from(kLeastWeight), as the 2^-126 of those below
// it vanish beside the 1 of the largest.
static double fill_weights(const Weights& w, const Logits& logits, float temperature) {
    double exponent = 1.4426950408889634 / temperature;
    Vec scale = vset(exponent < __FLT_MAX__ ? float(exponent) : __FLT_MAX__),
        shift = vset(logits.max);
    auto weight = [&](Vec x) { return vexp2_down(vmul(vsub(x, shift), scale), -126); };
    for (int64_t b = 0; b < w.row.blocks; b += kLanes) {
        int left = int(w.row.blocks - b < kLanes ? w.row.blocks - b : kLanes);
        // An exponential may fall by an ulp where it should rise: leave room.
        vstore_n(w.maxima + b, vmul(weight(vload_n(logits.maxima + b, left)), vset(1.000001f)),
                 left);
    }
    double total = 0;
    Vec nothing = vset(__builtin_nanf(""));
    for (int64_t first = 0; first < w.row.blocks; first += kGroup) {
        int64_t i = first * kMaxBlock;
        int64_t end = (first + kGroup < w.row.blocks ? first + kGroup : w.row.blocks) * kMaxBlock;
        Vec sum[2] = {vzero(), vzero()};
        for (; i + 2 * kLanes <= end && i + 2 * kLanes <= logits.n; i += 2 * kLanes)
            for (int j = 0; j < 2; ++j) {
                Vec e = weight(vload(logits.value + i + j * kLanes));
                vstore(w.value + i + j * kLanes, e);
                sum[j] = vadd(sum[j], e);
            }
        for (int j = 0; i < end; i += kLanes, j ^= 1) {
            int64_t rest = logits.n - i;
            int left = rest >= kLanes ? kLanes : rest > 0 ? int(rest) : 0;
            Vec x = left ? vkeep_n(vload_n(logits.value + i, left), left, nothing) : nothing;
            Vec e = weight(x);
            vstore(w.value + i, e);
            sum[j] = vadd(sum[j], e);
        }
        total += double(vsum(vadd(sum[0], sum[1])));
    }
    return total;
}

// mass[i]: the weight of all tokens with at least value[i]; the last value is the smallest.
template <int count>
static void masses_from(const Weights& w, const float* value, double* mass) {
    for (int i = 0; i < count; ++i) mass[i] = 0;
    for (int64_t first = 0; first < w.row.blocks; first += kGroup) {
        int64_t last = first + kGroup < w.row.blocks ? first + kGroup : w.row.blocks;
        Vec sum[count][2];
        for (int i = 0; i < count; ++i) sum[i][0] = sum[i][1] = vzero();
        for (int64_t block = first; block < last; ++block) {
            if (w.maxima[block] < value[count - 1]) continue;  // adding zeros would change no sum
            const float* p = w.value + block * kMaxBlock;
            for (int j = 0; j < 4; ++j) {
                Vec v = vload(p + j * kLanes);
                for (int i = 0; i < count; ++i)
                    sum[i][j % 2] = vadd_ge(sum[i][j % 2], v, vset(value[i]));
            }
        }
        for (int i = 0; i < count; ++i) mass[i] += double(vsum(vadd(sum[i][0], sum[i][1])));
    }
}

static double mass_from(const Weights& w, float value) {
    double mass;
    masses_from<1>(w, &value, &mass);
    return mass;
}

static void learn(Weights& w, float value, double mass) {
    if (w.count == 64) return;
    int i = w.count++;
    for (; i > 0 && w.known[i - 1].value < value; --i) w.known[i] = w.known[i - 1];
    w.known[i] = {value, mass};
}

// The three values that the next pass looks at, between low and high: wide apart while the size of
// the answer is unknown, then dividing the keys in four.
static void next_values(float low, float high, float* value) {
    int64_t from = order_key(low), to = order_key(high);
    static const float sizes[] = {0x1p-3f, 0x1p-7f, 0x1p-12f, 0x1p-18f, 0x1p-30f, 0x1p-60f};
    int first = 0;
    while (first < 6 && sizes[first] >= high) ++first;
    if (first + 3 <= 6 && sizes[first + 2] > low) {
        for (int i = 0; i < 3; ++i) value[i] = sizes[first + i];
    } else {
        for (int i = 0; i < 3; ++i) value[i] = key_value(int32_t(to - (to - from) * (i + 1) / 4));
    }
}

// The first place, largest value first, at which the cumulated weight reaches `target` (or exceeds
// it: `beyond`), not below the value `lowest`, which is known. The weight from there on must reach
// the target; where the last bits of other sums have it otherwise, the last token that was looked
// at.
static Place find_place(Weights& w, double target, bool beyond, float lowest) {
    auto reached = [&](double mass) { return beyond ? mass > target : mass >= target; };
    // What has at least the value `high` does not reach the target, what has `low` does.
    Known high = {2, 0}, low = {lowest, 0};
    auto narrow = [&](Known k) {
        if (k.value < lowest) return;
        if (k.value == lowest || reached(k.mass)) {
            if (k.value >= low.value) low = k;
        } else if (k.value < high.value) {
            high = k;
        }
    };
    for (int i = 0; i < w.count; ++i) narrow(w.known[i]);
    int64_t count;
    if (w.row.sample_size >= kEnough) {
        double total = w.known[w.count - 1].mass;
        Interval guess = guess_place<Measure::weight>(w.row, target / total, low.value, high.value);
        Known above = {guess.high, 0};
        above.mass = gather_near<Measure::weight>(w.row, guess.low, guess.high, &count);
        double with = above.mass + mass_of<Measure::weight>(w.row.near_values, count, guess.low);
        if (!reached(above.mass) && reached(with))
            return place_near<Measure::weight>(w.row, count, guess.low, above, reached);
        learn(w, above.value, above.mass);
        narrow(above);
    }
    constexpr double few = 8192;
    while (low.mass - high.mass > few * low.value &&
           order_key(high.value) - order_key(low.value) > 4) {
        float value[3];
        double mass[3];
        next_values(low.value, high.value, value);
        masses_from<3>(w, value, mass);
        for (int i = 0; i < 3; ++i) {
            learn(w, value[i], mass[i]);
            narrow({value[i], mass[i]});
        }
    }
    gather_near<Measure::weight>(w.row, low.value, high.value, &count);
    return place_near<Measure::weight>(w.row, count, low.value, high, reached);
}

// The tokens that carry most of the weight, when 128 hold all that is kept; else -1.
static int32_t draw_largest(const SampleArgs& a, Weights& w, const Logits& logits, double total) {
    constexpr int64_t most = 128;
    // A candidate's room is that of the search, which is not needed then.
    Largest top = largest(logits.value, logits.n, logits.maxima, logits.max, most,
                          (uint64_t*)w.row.near_values);
    double sum[most], mass = 0, target = a.top_p * total;
    int64_t kept = 0;
    bool whole = false;
    while (kept < top.count) {
        double weight = w.value[candidate_index(top.first[kept])];
        whole = weight < a.min_p || weight < kLeastWeight;
        if (whole) break;
        sum[kept++] = mass += weight;
        whole = a.top_p < 1 && mass >= target;
        if (whole) break;
    }
    if (!whole && top.count == most) {
        // All with a larger value than the last are in the list.
        float last = w.value[candidate_index(top.first[most - 1])];
        int64_t larger = most;
        while (larger > 0 && w.value[candidate_index(top.first[larger - 1])] == last) --larger;
        if (larger > 0) learn(w, key_value(order_key(last) + 1), sum[larger - 1]);
        return -1;
    }
    int64_t i = 0;
    while (i + 1 < kept && !(sum[i] > a.draw * mass)) ++i;
    return candidate_index(top.first[i]);
}

// Draws among all logits; returns the index of one.
static int32_t draw_index(const SampleArgs& a, const Logits& logits, Weights& w) {
    double total = fill_weights(w, logits, a.temperature);
    take_sample<Measure::weight>(w.row);
    if (w.row.sample_size < kEnough && (a.top_p < 1 || a.min_p > 0)) {
        int32_t index = draw_largest(a, w, logits, total);
        if (index >= 0) return index;
    }
    learn(w, kLeastWeight, total);
    Place kept = {kLeastWeight, kAnyId, total};
    if (a.top_p < 1) kept = find_place(w, a.top_p * total, false, kLeastWeight);
    if (a.min_p > kept.value) kept = {a.min_p, kAnyId, mass_from(w, a.min_p)};
    learn(w, kept.value, kept.mass);
    double target = a.draw * kept.mass;
    if (!(target < kept.mass)) target = kept.mass * (1 - 0x1p-52);
    Place drawn = find_place(w, target, true, kept.value);
    bool beyond = drawn.id < 0 || (drawn.value == kept.value && drawn.id > kept.id);
    return beyond ? kept.id : drawn.id;
}

// room: sample_scratch_bytes without the maxima
static int32_t draw_many(const SampleArgs& a, const float* maxima, float max, std::byte* room) {
    int64_t blocks = max_blocks(a.V), padded = blocks * kMaxBlock;
    Weights w;
    w.count = 0;
    w.value = (float*)room;
    w.maxima = w.value + padded;
    float* kept = w.maxima + (blocks + kLanes);
    int32_t* ids = (int32_t*)(kept + padded + kLanes);
    float* kept_maxima = (float*)(ids + padded + kLanes);
    float* near = kept_maxima + blocks + kLanes;
    int32_t* near_ids = (int32_t*)(near + padded + kLanes);
    float* sample = (float*)(near_ids + padded + kLanes);

    Logits logits = {a.logits, a.V, maxima, max, nullptr};
    w.row = {a.logits, a.V, blocks, maxima, near, near_ids, sample, 0, 0, 0};
    if (a.top_k > 0 && a.top_k < a.V) {
        take_sample<Measure::count>(w.row);
        int64_t n = copy_up_to(w.row, last_of_top_k(w.row, max, a.top_k), kept, ids);
        logits = {kept, n, kept_maxima, block_maxima(kept, n, kept_maxima), ids};
        blocks = max_blocks(n);
    }
    w.row = {w.value, blocks * kMaxBlock, blocks, w.maxima, near, near_ids, sample, 0, 0, 0};
    int32_t index = draw_index(a, logits, w);
    return logits.ids ? logits.ids[index] : index;
}

}  // namespace genfast::GENFAST_ISA
