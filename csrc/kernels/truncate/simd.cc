#include "kernels/table.h"
#include "kernels/truncate/candidates.h"
#include "kernels/truncate/typical.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kFew = 1024;       // so many tokens are sorted; more are searched
constexpr int64_t kSortable = 4096;  // the most that a search leaves to be sorted

struct Room {
    float* maxima;
    std::byte* rest;
    uint64_t* numbers;  // 2 * kSortable
};

// Drops logits further than n standard deviations from the largest; blocks' maxima stay exact.
static void keep_top_n_sigma(const TruncateArgs& a, float* maxima, float max) {
    Vec lowest = vset(-__builtin_inff());
    auto load = [&](int64_t i, int count) {
        return count == kLanes ? vload(a.logits + i)
                               : vkeep_n(vload_n(a.logits + i, count), count, lowest);
    };
    // f(logit) summed over what is above -infinity; NaN is not.
    auto sum = [&](auto f) {
        return block_sum(a.V, [&](int64_t i, int count) {
            Vec x = load(i, count);
            return vselect_lt(lowest, x, f(x), vzero());
        });
    };
    double count = double(count_ge(a.logits, a.V, -__FLT_MAX__));
    double mean = max + sum([&](Vec x) { return vsub(x, vset(max)); }) / count;
    Vec center = vset(float(mean));
    double squares = sum([&](Vec x) {
        Vec off = vsub(x, center);
        return vmul(off, off);
    });
    Vec least = vset(float(max - double(a.top_n_sigma) * __builtin_sqrt(squares / count)));
    auto keep = [&](float* values, int64_t n) {
        each(0, n, [&](int64_t i, int some) {
            Vec x = some == kLanes ? vload(values + i) : vload_n(values + i, some);
            vstore_n(values + i, vselect_lt(x, least, lowest, x), some);
        });
    };
    keep(a.logits, a.V);
    keep(maxima, max_blocks(a.V));
}

// The filters on few tokens, sorted; writes what they leave.
static void truncate_few(const TruncateArgs& a, const uint64_t* sorted, int64_t count) {
    float logit[kFew] = {};
    double z[kFew], weight[kFew];
    for (int64_t i = 0; i < count; ++i) logit[i] = a.logits[candidate_index(sorted[i])];
    Sorted s = {logit, z, weight, 0, count};
    weigh(s, a.temperature);
    apply_filters(a, s);
    tell(a, s);
    Vec nothing = vset(-__builtin_inff());
    each(0, a.V, [&](int64_t i, int n) { vstore_n(a.logits + i, nothing, n); });
    for (int64_t i = s.first; i < s.last; ++i) a.logits[candidate_index(sorted[i])] = logit[i];
}

// Calls take(index) for every token of at least this weight, in order.
template <class Take>
GENFAST_INLINE void each_kept(const Kept& k, float least, Take take) {
    each(0, k.n, [&](int64_t i, int count) {
        uint32_t mask = vmask_ge(k.w(i, count), vset(least));
        if (count < kLanes) mask &= (1u << count) - 1;
        for (; mask; mask &= mask - 1) take(i + __builtin_ctz(mask));
    });
}

static void exclude_top_choices(const Kept& k, float threshold) {
    Place last = {__builtin_inff(), 0, 0};
    int64_t count = 0;
    double least = threshold * mass_of(k);
    each_kept(k, least > kLeastWeight ? float(least) : kLeastWeight, [&](int64_t i) {
        if (k.weight[i] <= last.value) last = {k.weight[i], int32_t(i), 0};
        ++count;
    });
    if (count >= 2) drop_before(k, last);
}

static Place largest_of(const Kept& k) {
    float max = row_max(k.weight, k.n);
    int32_t id = 0;
    while (k.weight[id] != max) ++id;
    return {max, id, 0};
}

static void truncate_many(const TruncateArgs& a, float max, const Room& room) {
    int64_t blocks = max_blocks(a.V), padded = blocks * kMaxBlock;
    Weights w;
    w.count = 0;
    w.value = (float*)room.rest;
    w.maxima = w.value + padded;
    float* near = w.maxima + blocks + kLanes;
    int32_t* near_ids = (int32_t*)(near + padded + kLanes);
    float* sample = (float*)(near_ids + padded + kLanes);
    double exponent = 1.0 / a.temperature;
    Kept k = {a.logits, w.value, a.V, max, exponent < __FLT_MAX__ ? float(exponent) : __FLT_MAX__};

    if (a.top_k > 0 && a.top_k < a.V) {
        w.row = {a.logits, a.V, blocks, room.maxima, near, near_ids, sample, 0, 0, 0};
        take_sample<Measure::count>(w.row);
        Kept by_logit = {a.logits, nullptr, a.V, max, 0};
        drop_after(by_logit, last_of_top_k(w.row, max, a.top_k));
    }
    w.row = {w.value, padded, blocks, w.maxima, near, near_ids, sample, 0, 0, 0};
    double total = fill_weights(w, {a.logits, a.V, room.maxima, max, nullptr}, a.temperature);
    Place last = {kLeastWeight, kAnyId, total};
    if (a.top_p < 1) {
        take_sample<Measure::weight>(w.row);
        learn(w, kLeastWeight, total);
        last = find_place(w, a.top_p * total, false, kLeastWeight);
    }
    if (a.min_p > last.value) last = {a.min_p, kAnyId, 0};
    drop_after(k, last);

    TruncateArgs rest = a;  // the filters that are still to come
    rest.top_p = 1;
    rest.min_p = 0;
    if (a.typical_p < 1 && count_of(k) > kFew) {
        keep_typical(k, a.typical_p, kSortable, room.numbers);
        rest.typical_p = 1;
    }
    if (count_of(k) <= kFew) {
        int64_t count = 0;
        each_kept(k, kLeastWeight,
                  [&](int64_t i) { room.numbers[count++] = candidate(a.logits[i], i); });
        return truncate_few(rest, sort_candidates(room.numbers, room.numbers + kFew, count), count);
    }
    if (a.xtc_threshold <= 0.5f) exclude_top_choices(k, a.xtc_threshold);
    if (a.max_bits < __builtin_inf()) {
        Place first = largest_of(k);
        double least = mass_of(k) * __builtin_exp2(-a.max_bits);
        if (least > first.value)
            drop_after(k, first);
        else
            drop_after(k, {least > kLeastWeight ? float(least) : kLeastWeight, kAnyId, 0});
    }
    *a.kept = count_of(k);
    *a.log_sum = double(max) / a.temperature + __builtin_log(mass_of(k));
}

void truncate(const TruncateArgs& a, Team& team) {
    if (team.index != 0) return;
    int64_t blocks = max_blocks(a.V), bytes = (blocks * sizeof(float) + 63) / 64 * 64;
    Room room;
    room.maxima = (float*)a.scratch;
    room.numbers = (uint64_t*)(a.scratch + bytes);
    room.rest = a.scratch + bytes + 2 * kSortable * sizeof(uint64_t);
    float max = block_maxima(a.logits, a.V, room.maxima);
    if (!(max > -__builtin_inff())) return keep_only(a, a.V);
    if (max == __builtin_inff()) {
        int64_t first = 0;
        while (a.logits[first] != max) ++first;
        return keep_only(a, first);
    }
    if (a.top_n_sigma > 0) keep_top_n_sigma(a, room.maxima, max);
    if (a.top_k == 0 || a.top_k > kFew) return truncate_many(a, max, room);
    Largest top = largest(a.logits, a.V, room.maxima, max, a.top_k, (uint64_t*)room.rest);
    truncate_few(a, top.first, top.count);
}

}  // namespace genfast::GENFAST_ISA
