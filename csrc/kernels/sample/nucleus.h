// Drawing from a wide distribution without sorting it. A token is found where the cumulated weight,
// largest first, passes a target: the value at which that happens is searched between known ones,
// four intervals a pass; when few tokens are left inside, they are gathered and sorted.
//
// Sums run in a fixed order (floats over blocks, blocks in double), so every instruction set draws
// the same token. Weights are floats: tokens whose weights are equal as floats count as ties.
#pragma once

#include "kernels/sample/sample.h"
#include "simd/math.h"
#include "simd/reduce.h"
#include "simd/topk.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kGroup = kSumBlock / kMaxBlock;  // blocks a float sum
constexpr int32_t kAnyId = 0x7fffffff;
constexpr int64_t kStride = 32;
constexpr double kEnough = 200;            // a smaller sample says little
constexpr float kLeastWeight = 0x1p-125f;  // anything smaller is never drawn

// A value, and the weight of all tokens with at least that value.
struct Known {
    float value;
    double mass;
};

struct Weights {
    float* value;        // e^((logit - max) / temperature): 1 to 2^-126, [blocks * kMaxBlock]
    float* maxima;       // of each block: at least the largest value in it
    float* near_values;  // [n + kLanes]: room for the tokens near the place that is searched
    int32_t* near_ids;   // [n + kLanes]
    int64_t blocks;
    float* sample;  // the values of every kStride-th block
    int64_t sampled;
    double sample_mass, sample_size;  // their sum, and how many equal ones would say as much
    Known known[64];                  // what was summed so far, the largest value first
    int count;
};

// A place in the order (larger value first, then lower id), and the weight up to and with it.
struct Place {
    float value;
    int32_t id;
    double mass;
};

// Computes the weights and returns their sum: mass_from(kLeastWeight), as the 2^-126 of those below
// it vanish beside the 1 of the largest.
static double fill_weights(const Weights& w, const float* logits, int64_t n, const float* maxima,
                           float max, float temperature) {
    double exponent = 1.4426950408889634 / temperature;
    Vec scale = vset(exponent < __FLT_MAX__ ? float(exponent) : __FLT_MAX__), shift = vset(max);
    auto weight = [&](Vec x) { return vexp2_down(vmul(vsub(x, shift), scale), -126); };
    for (int64_t b = 0; b < w.blocks; b += kLanes) {
        int left = int(w.blocks - b < kLanes ? w.blocks - b : kLanes);
        // An exponential may fall by an ulp where it should rise: leave room.
        vstore_n(w.maxima + b, vmul(weight(vload_n(maxima + b, left)), vset(1.000001f)), left);
    }
    double total = 0;
    Vec nothing = vset(__builtin_nanf(""));
    for (int64_t first = 0; first < w.blocks; first += kGroup) {
        int64_t i = first * kMaxBlock;
        int64_t end = (first + kGroup < w.blocks ? first + kGroup : w.blocks) * kMaxBlock;
        Vec sum[2] = {vzero(), vzero()};
        for (; i + 2 * kLanes <= end && i + 2 * kLanes <= n; i += 2 * kLanes)
            for (int j = 0; j < 2; ++j) {
                Vec e = weight(vload(logits + i + j * kLanes));
                vstore(w.value + i + j * kLanes, e);
                sum[j] = vadd(sum[j], e);
            }
        for (int j = 0; i < end; i += kLanes, j ^= 1) {
            int left = n - i >= kLanes ? kLanes : n > i ? int(n - i) : 0;
            Vec e = weight(left ? vkeep_n(vload_n(logits + i, left), left, nothing) : nothing);
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
    for (int64_t first = 0; first < w.blocks; first += kGroup) {
        int64_t last = first + kGroup < w.blocks ? first + kGroup : w.blocks;
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

// Copies the tokens with low <= value < high, in the order of their ids.
static int64_t gather_between(const Weights& w, float low, float high) {
    Vec from = vset(low), to = vset(high);
    int32_t* ids = w.near_ids;
    int64_t count = 0;
    for (int64_t block = 0; block < w.blocks; ++block) {
        if (w.maxima[block] < low) continue;
        uint64_t mask = 0;
        for (int i = 0; i < kMaxBlock; i += kLanes) {
            Vec v = vload(w.value + block * kMaxBlock + i);
            mask |= uint64_t(vmask_ge(v, from) & ~vmask_ge(v, to)) << i;
        }
        // Mostly there are a few. Four at a time, wanted or not, spare the CPU a guess for each.
        int64_t end = count + __builtin_popcountll(mask);
        while (count < end) {
            for (int i = 0; i < 4; ++i, mask &= mask - 1)
                ids[count + i] = int32_t(block * kMaxBlock) + (mask ? __builtin_ctzll(mask) : 0);
            count += 4;
        }
        count = end;
    }
    for (int64_t i = 0; i < count; ++i) w.near_values[i] = w.value[ids[i]];
    return count;
}

// Of the gathered tokens, keeps those with value >= limit, or the others.
static int64_t keep_near(const Weights& w, int64_t count, float limit, bool upper) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i += kLanes) {
        Vec v = vload(w.near_values + i);
        VecI ids = iload(w.near_ids + i);
        uint32_t mask = vmask_ge(v, vset(limit)) ^ (upper ? 0 : 0xffffu);
        if (count - i < kLanes) mask &= (1u << (count - i)) - 1;
        vcompress(w.near_values + kept, v, mask);
        icompress(w.near_ids + kept, ids, mask);
        kept += __builtin_popcount(mask);
    }
    return kept;
}

// The sum of those of x[0..n) that are at least `value`.
static double sum_from(const float* x, int64_t n, float value) {
    Vec limit = vset(value);
    return block_sum(n, [&](int64_t i, int left) {
        Vec v = left == kLanes ? vload(x + i) : vkeep_n(vload_n(x + i, left), left, vzero());
        return vadd_ge(vzero(), v, limit);
    });
}

// The place where `reached` becomes true among the tokens with low <= value < high.value.
template <class Reached>
static Place place_between(const Weights& w, float low, Known high, Reached reached) {
    int32_t low_key = order_key(low), high_key = order_key(high.value);
    double above = high.mass;
    int64_t count = gather_between(w, low, high.value);
    constexpr int64_t few = 24;
    while (count > few && high_key - low_key > 1) {
        int32_t mid = middle(low_key, high_key);
        double mass = above + sum_from(w.near_values, count, key_value(mid));
        // Sums in another order may fall short of the target in their last bits: never drop all.
        bool upper = reached(mass) || count_ge(w.near_values, count, key_value(mid)) == count;
        (upper ? low_key : high_key) = mid;
        if (!upper) above = mass;
        count = keep_near(w, count, key_value(mid), upper);
    }
    Place place = {0, -1, above};
    if (count > few) {  // all equal
        place.value = w.near_values[0];
        int64_t from = 0, to = count - 1;  // the first whose weight reaches the target, or the last
        while (from < to) {
            int64_t mid = (from + to) / 2;
            if (reached(above + double(mid + 1) * place.value))
                to = mid;
            else
                from = mid + 1;
        }
        return {place.value, w.near_ids[from], above + double(from + 1) * place.value};
    }
    uint64_t tokens[few], other[few];
    for (int64_t i = 0; i < count; ++i) tokens[i] = candidate(w.near_values[i], w.near_ids[i]);
    const uint64_t* sorted = sort_candidates(tokens, other, count);
    for (int64_t i = 0; i < count; ++i) {
        place.id = candidate_index(sorted[i]);
        place.value = w.value[place.id];
        place.mass += double(place.value);
        if (reached(place.mass)) break;
    }
    return place;
}

static void take_sample(Weights& w) {
    double squares = 0;
    w.sampled = 0;
    for (int64_t block = kStride / 2; block < w.blocks; block += kStride) {
        Vec sum = vzero();
        for (int i = 0; i < kMaxBlock; i += kLanes) {
            Vec v = vload(w.value + block * kMaxBlock + i);
            vstore(w.sample + w.sampled + i, v);
            sum = vfma(v, v, sum);
        }
        w.sampled += kMaxBlock;
        squares += double(vsum(sum));
    }
    w.sample_mass = sum_from(w.sample, w.sampled, 0);
    w.sample_size = w.sampled ? w.sample_mass * w.sample_mass / squares : 0;
}

// The key between low and high of a value that about this share of the sample's weight reaches.
static int32_t sample_key(const Weights& w, double share, int32_t low, int32_t high) {
    while (high - low > 1 << 16) {
        int32_t mid = middle(low, high);
        (sum_from(w.sample, w.sampled, key_value(mid)) > share * w.sample_mass ? low : high) = mid;
    }
    return low;
}

// Learns the masses around the place where the weight reaches a share of the total, when the sample
// says where that may be.
static void learn_around(Weights& w, double share) {
    if (w.sample_size < kEnough) return;
    double error = 0.002 + 2.5 * __builtin_sqrt(share * (1 - share) / w.sample_size);
    int32_t least = order_key(kLeastWeight), most = order_key(1);
    int32_t middle = sample_key(w, share, least, most);
    constexpr int32_t four_times = 2 << 23;
    int32_t low = middle - four_times > least ? middle - four_times : least;
    int32_t high = middle + four_times < most ? middle + four_times : most;
    float value[3] = {key_value(sample_key(w, share - error, middle, high)), key_value(middle),
                      key_value(sample_key(w, share + error, low, middle))};
    double mass[3];
    masses_from<3>(w, value, mass);
    for (int i = 0; i < 3; ++i) learn(w, value[i], mass[i]);
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
    learn_around(w, target / w.known[w.count - 1].mass);
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
    return place_between(w, low.value, high, reached);
}

// Leaves the k largest logits (ties: lower id) their weight.
static void cut_to_top_k(const Weights& w, const float* logits, int64_t n, const float* maxima,
                         float max, int64_t k) {
    Threshold t = threshold_for(logits, n, max, k, k);
    Vec limit = vset(t.value);
    for (int64_t i = 0; i < n; i += kLanes) {
        int left = int(n - i < kLanes ? n - i : kLanes);
        Vec x = vload_n(logits + i, left);
        vstore_n(w.value + i, vselect_lt(x, limit, vzero(), vload_n(w.value + i, left)), left);
    }
    if (!t.exact) return;
    int64_t ties = k - count_ge(logits, n, key_value(order_key(t.value) + 1));
    visit_blocks(
        logits, n, maxima, t.value, [&](Vec v) { return vmask_ge(v, limit) & ~vmask_gt(v, limit); },
        [&](int64_t i) {
            if (--ties < 0) w.value[i] = 0;
            return true;
        });
}

// The tokens that carry most of the weight, when 128 hold all that is kept; else -1.
static int32_t draw_largest(const SampleArgs& a, Weights& w, const float* maxima, float max,
                            double total) {
    constexpr int64_t most = 128;
    // A candidate's room is that of the search, which is not needed then.
    Largest top = largest(a.logits, a.V, maxima, max, most, (uint64_t*)w.near_values);
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

// room: sample_scratch_bytes without the maxima
static int32_t draw_many(const SampleArgs& a, const float* maxima, float max, std::byte* room) {
    Weights w;
    w.blocks = max_blocks(a.V);
    w.value = (float*)room;
    w.maxima = w.value + w.blocks * kMaxBlock;
    w.near_values = w.maxima + (w.blocks + kLanes - 1) / kLanes * kLanes;
    w.near_ids = (int32_t*)(w.near_values + a.V + kLanes);
    w.sample = (float*)(w.near_ids + a.V + kLanes);
    w.count = 0;
    double total = fill_weights(w, a.logits, a.V, maxima, max, a.temperature);
    if (a.top_k > 0 && a.top_k < a.V) {
        cut_to_top_k(w, a.logits, a.V, maxima, max, a.top_k);
        total = mass_from(w, kLeastWeight);
    }
    take_sample(w);
    if (w.sample_size < kEnough && (a.top_p < 1 || a.min_p > 0)) {
        int32_t token = draw_largest(a, w, maxima, max, total);
        if (token >= 0) return token;
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

}  // namespace genfast::GENFAST_ISA
