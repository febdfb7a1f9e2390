// The largest few of many floats without sorting them: maxima of blocks give a threshold that few
// values pass; those are gathered and sorted. Shared by sample and logprobs. NaN and -infinity are
// never among the largest.
#pragma once

#include "simd/order.h"
#include "simd/reduce.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kMaxBlock = 64;

static inline int64_t max_blocks(int64_t n) {
    return (n + kMaxBlock - 1) / kMaxBlock;
}

static inline int32_t middle(int32_t low, int32_t high) {
    return int32_t((int64_t(low) + high) >> 1);
}

// The largest of up to 64 values from p on; vmax gives its second argument when either is NaN.
GENFAST_INLINE Vec block_max(const float* p) {
    Vec v = vmax(vload(p), vset(-__builtin_inff()));
    v = vmax(vload(p + 16), v);
    v = vmax(vload(p + 32), v);
    return vmax(vload(p + 48), v);
}

// maxima[b] = max of x[64 b .. 64 b + 64), NaN skipped; the largest of all is returned.
static float block_maxima(const float* x, int64_t n, float* maxima) {
    Vec lowest = vset(-__builtin_inff()), all = lowest;
    int64_t b = 0;
    for (; (b + kLanes) * kMaxBlock <= n; b += kLanes) {
        Vec rows[kLanes];
        for (int i = 0; i < kLanes; ++i) rows[i] = block_max(x + (b + i) * kMaxBlock);
        Vec sixteen = vmaxall16(rows);
        vstore(maxima + b, sixteen);
        all = vmax(all, sixteen);
    }
    for (; b * kMaxBlock < n; ++b) {
        Vec last = lowest;
        int64_t end = n < (b + 1) * kMaxBlock ? n : (b + 1) * kMaxBlock;
        for (int64_t i = b * kMaxBlock; i < end; i += kLanes) {
            int left = int(end - i < kLanes ? end - i : kLanes);
            last = vmax(vkeep_n(vload_n(x + i, left), left, lowest), last);
        }
        maxima[b] = vmaxall(last);
        all = vmax(all, last);
    }
    return vmaxall(all);
}

static int64_t count_ge(const float* x, int64_t n, float threshold) {
    Vec limit = vset(threshold), out = vset(__builtin_nanf(""));
    int64_t count = 0, i = 0;
    for (; i + kLanes <= n; i += kLanes) count += __builtin_popcount(vmask_ge(vload(x + i), limit));
    if (i < n) {
        int left = int(n - i);
        count += __builtin_popcount(vmask_ge(vkeep_n(vload_n(x + i, left), left, out), limit));
    }
    return count;
}

struct Threshold {
    float value;
    bool exact;  // more than `most` values are >= value, fewer than `least` are larger
};

// A value that between `least` and `most` of x reach, found by halving; max is the largest of x.
// Where fewer than `least` of them are above -infinity: the lowest float.
static Threshold threshold_for(const float* x, int64_t n, float max, int64_t least, int64_t most) {
    int32_t low = order_key(-__FLT_MAX__), high = order_key(max) + 1;
    if (count_ge(x, n, key_value(low)) <= most) return {key_value(low), false};
    // count(low) > most, count(high) < least. The first steps halve the distance, which fits values
    // of one size, then steps halve the keys, which ends for any values.
    float floor = row_min(x, n);
    if (floor > key_value(low)) low = order_key(floor);
    for (int step = 0; high - int64_t(low) > 1; ++step) {
        int32_t mid = middle(low, high);
        if (step < 8) {
            int32_t half = order_key(key_value(low) / 2 + key_value(high) / 2);
            if (half > low && half < high) mid = half;
        }
        int64_t count = count_ge(x, n, key_value(mid));
        if (count < least)
            high = mid;
        else if (count <= most)
            return {key_value(mid), false};
        else
            low = mid;
    }
    return {key_value(low), true};
}

// Sorts the largest first; `other` is as long. The result lies in one of the two.
static uint64_t* sort_candidates(uint64_t* a, uint64_t* other, int64_t n) {
    constexpr int64_t run = 12;  // insertion sort, then merges
    for (int64_t start = 0; start < n; start += run) {
        int64_t end = n < start + run ? n : start + run;
        for (int64_t i = start + 1; i < end; ++i) {
            uint64_t value = a[i];
            int64_t j = i;
            for (; j > start && a[j - 1] < value; --j) a[j] = a[j - 1];
            a[j] = value;
        }
    }
    for (int64_t width = run; width < n; width *= 2) {
        for (int64_t start = 0; start < n; start += 2 * width) {
            int64_t i = start, middle = n < start + width ? n : start + width;
            int64_t j = middle, end = n < start + 2 * width ? n : start + 2 * width;
            for (int64_t to = start; to < end; ++to) {
                bool left = j >= end || (i < middle && a[i] > a[j]);
                other[to] = left ? a[i] : a[j];
                i += left;
                j += !left;
            }
        }
        uint64_t* swap = a;
        a = other;
        other = swap;
    }
    return a;
}

// Visits, in order, the index of every x[i] for which test(Vec) sets its bit, in blocks whose
// maximum reaches `threshold`; visit returns false to stop.
template <class Test, class Visit>
GENFAST_INLINE void visit_blocks(const float* x, int64_t n, const float* maxima, float threshold,
                                 Test test, Visit visit) {
    Vec nothing = vset(__builtin_nanf("")), limit = vset(threshold);
    for (int64_t first = 0; first < max_blocks(n); first += kLanes) {
        int64_t rest = max_blocks(n) - first;
        Vec largest = rest >= kLanes
                          ? vload(maxima + first)
                          : vkeep_n(vload_n(maxima + first, int(rest)), int(rest), nothing);
        for (uint32_t blocks = vmask_ge(largest, limit); blocks; blocks &= blocks - 1) {
            int64_t begin = (first + __builtin_ctz(blocks)) * kMaxBlock;
            for (int64_t i = begin; i < begin + kMaxBlock && i < n; i += kLanes) {
                int left = int(n - i < kLanes ? n - i : kLanes);
                Vec v =
                    left == kLanes ? vload(x + i) : vkeep_n(vload_n(x + i, left), left, nothing);
                for (uint32_t mask = test(v); mask; mask &= mask - 1)
                    if (!visit(i + __builtin_ctz(mask))) return;
            }
        }
    }
}

// How many blocks may pass the threshold for k candidates; and room for the candidates of the k
// largest of n, of which twice as much is needed.
static inline int64_t blocks_for(int64_t k) {
    return k + k / 4 + 8;
}
static inline int64_t candidate_room(int64_t n, int64_t k) {
    int64_t most = blocks_for(k) * kMaxBlock;
    return most < n ? most : n;
}

struct Largest {
    const uint64_t* first;  // candidates, largest first
    int64_t count;          // k, or all above -infinity where these are fewer
};

// The k largest of x by (value, lower index). maxima and max are block_maxima's; room: for
// 2 * candidate_room(n, k).
static Largest largest(const float* x, int64_t n, const float* maxima, float max, int64_t k,
                       uint64_t* room) {
    if (k <= 0 || !(max > -__builtin_inff())) return {room, 0};
    // Every block has one value at least: k blocks give k candidates, and few blocks few of them.
    Threshold t = threshold_for(maxima, max_blocks(n), max, k, blocks_for(k));
    Vec limit = vset(t.value);
    int64_t count = 0;
    auto take = [&](int64_t i) {
        room[count++] = candidate(x[i], i);
        return true;
    };
    if (t.exact) {
        // Many blocks end in the same value: what is larger first, then as many of those as it
        // takes.
        visit_blocks(x, n, maxima, t.value, [&](Vec v) { return vmask_gt(v, limit); }, take);
        visit_blocks(
            x, n, maxima, t.value, [&](Vec v) { return vmask_ge(v, limit) & ~vmask_gt(v, limit); },
            [&](int64_t i) { return count < k && take(i); });
    } else {
        visit_blocks(x, n, maxima, t.value, [&](Vec v) { return vmask_ge(v, limit); }, take);
    }
    uint64_t* sorted = sort_candidates(room, room + candidate_room(n, k), count);
    return {sorted, count < k ? count : k};
}

}  // namespace genfast::GENFAST_ISA
