// The weights of a row of logits, and where their sum, largest first, reaches a target (search.h).
// Weights are floats: tokens whose weights are equal as floats count as ties.
#pragma once

#include "kernels/sample/sample.h"
#include "kernels/sample/top_k.h"
#include "kernels/sample/ways.h"
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
    Vec scale = vset(exponent_scale(temperature)), shift = vset(logits.max);
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

}  // namespace genfast::GENFAST_ISA
