#include "kernels/table.h"
#include "kernels/truncate/candidates.h"
#include "kernels/truncate/typical.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kLikeliest = 256;  // of many, so many hold what is typical where it is likely

// The least logit within n standard deviations of the largest. NaN and -infinity do not count.
static float sigma_limit(const TruncateArgs& a, float max) {
    Vec lowest = vset(-__builtin_inff());
    double sums[2], count = double(count_ge(a.logits, a.V, -__FLT_MAX__));
    block_sums<2>(a.V, sums, [&](int64_t i, int some, Vec* part) {
        Vec x = vkeep_n(load_some(a.logits + i, some), some, lowest);
        part[0] = vselect_lt(lowest, x, vsub(x, vset(max)), vzero());
        part[1] = vmul(part[0], part[0]);
    });
    double mean = sums[0] / count, variance = sums[1] / count - mean * mean;
    return float(max - double(a.top_n_sigma) * __builtin_sqrt(variance > 0 ? variance : 0));
}

// Drops logits below the limit; blocks' maxima stay exact.
static void drop_below(const TruncateArgs& a, float* maxima, float limit) {
    auto drop_from = [&](float* values, int64_t n) {
        each(0, n, [&](int64_t i, int some) {
            Vec x = load_some(values + i, some);
            vstore_n(values + i, vselect_lt(x, vset(limit), vset(-__builtin_inff()), x), some);
        });
    };
    drop_from(a.logits, a.V);
    drop_from(maxima, max_blocks(a.V));
}

// Tokens sorted, their logits and weights.
struct Few {
    const uint64_t* sorted;
    float logit[kFew] = {};
    double z[kFew], weight[kFew];
    Sorted kept;

    Few(const TruncateArgs& a, const uint64_t* tokens, int64_t count) : sorted(tokens) {
        for (int64_t i = 0; i < count; ++i) logit[i] = a.logits[candidate_index(tokens[i])];
        kept = {logit, z, weight, 0, count};
        weigh(kept, a.temperature);
    }
    // Applies the last filters and writes what is left.
    void finish(const TruncateArgs& a) {
        keep_after_typical(a, kept);
        tell(a, kept);
        Vec nothing = vset(-__builtin_inff());
        each(0, a.V, [&](int64_t i, int n) { vstore_n(a.logits + i, nothing, n); });
        for (int64_t i = kept.first; i < kept.last; ++i)
            a.logits[candidate_index(sorted[i])] = logit[i];
    }
};

static void truncate_few(const TruncateArgs& a, const uint64_t* sorted, int64_t count) {
    Few few(a, sorted, count);
    keep_probable(a, few.kept);
    if (a.typical_p < 1) keep_typical(few.kept, a.typical_p);
    few.finish(a);
}

// Whether the likeliest tokens hold all that is typical, as they do where the weight is on few.
static bool truncate_likeliest(const TruncateArgs& a, Largest likeliest, const Typical& typical) {
    if (likeliest.count == 0) return false;
    Few few(a, likeliest.first, likeliest.count);
    keep_nearest(few.kept, typical.mean, a.typical_p * typical.mass);
    if (few.kept.last == likeliest.count) return false;  // the next may be as near
    few.finish(a);
    return true;
}

static void exclude_top_choices(const Kept& k, float threshold) {
    Place last = {__builtin_inff(), 0, 0};
    int64_t count = 0;
    double least = threshold * mass_of(k);
    each_from(k, least > kLeastWeight ? float(least) : kLeastWeight, [&](int64_t i) {
        if (k.weight[i] <= last.value) last = {k.weight[i], int32_t(i), 0};
        ++count;
    });
    if (count >= 2) drop_before(k, last);
}

// The place of the last token with at least this weight, or of the largest.
static Place last_from(const Kept& k, double least) {
    Place first = largest_of(k);
    if (least > first.value) return first;
    return {least > kLeastWeight ? float(least) : kLeastWeight, kAnyId, 0};
}

struct Room {
    float* maxima;      // of blocks of logits
    uint64_t* numbers;  // 2 * kFew
    float* floats;      // 9 a token
};

static void truncate_many(const TruncateArgs& a, float max, const Room& room) {
    int64_t blocks = max_blocks(a.V), padded = blocks * kMaxBlock;
    Weights w;
    w.count = 0;
    w.value = room.floats;
    w.maxima = w.value + padded;
    // For one search after the other; aligned as the scratch is.
    float* rest = w.maxima + (blocks + 2 * kLanes - 1) / kLanes * kLanes;
    float* near = rest;
    int32_t* near_ids = (int32_t*)(near + padded + kLanes);
    float* sample = (float*)(near_ids + padded + kLanes);
    double scale = 1.0 / a.temperature;
    Kept k = {a.logits, w.value, a.V, max, scale < __FLT_MAX__ ? float(scale) : __FLT_MAX__};

    if (a.top_k > 0 && a.top_k < a.V) {
        w.row = {a.logits, a.V, blocks, room.maxima, near, near_ids, sample, 0, 0, 0};
        take_sample<Measure::count>(w.row);
        Kept by_logit = {a.logits, nullptr, a.V, max, 0};
        drop_after(by_logit, last_of_top_k(w.row, max, a.top_k));
    }
    w.row = {w.value, padded, blocks, w.maxima, near, near_ids, sample, 0, 0, 0};
    double total = fill_weights(w, {a.logits, a.V, room.maxima, max, nullptr}, a.temperature);
    take_sample<Measure::weight>(w.row);
    Place last = {kLeastWeight, kAnyId, total};
    if (a.top_p < 1) {
        learn(w, kLeastWeight, total);
        last = find_place(w, a.top_p * total, false, kLeastWeight);
    }
    if (a.min_p > last.value) last = {a.min_p, kAnyId, 0};
    bool cut = a.max_bits < __builtin_inf();
    if (cut && a.min_p == 0 && a.typical_p == 1 && a.xtc_threshold > 0.5f) {
        Place surprise = last_from(k, last.mass * __builtin_exp2(-a.max_bits));
        if (surprise.value > last.value) last = surprise;
        cut = false;
    }

    TruncateArgs then = a;  // the filters that are still to come
    then.top_p = 1;
    then.min_p = 0;
    if (!cut) then.max_bits = __builtin_inf();
    auto truncate_if_few = [&](float least) {
        if (count_from(k, least) > kFew) return false;
        int64_t count = 0;
        each_from(k, least, [&](int64_t i) { room.numbers[count++] = candidate(a.logits[i], i); });
        truncate_few(then, sort_candidates(room.numbers, room.numbers + kFew, count), count);
        return true;
    };
    if (last.id == kAnyId && truncate_if_few(last.value)) return;
    drop_after(k, last);
    if (truncate_if_few(kLeastWeight)) return;
    if (a.typical_p < 1) {
        Typical typical = typical_of(k);
        if (w.row.sample_size < kEnough) {
            Largest likeliest =
                largest(a.logits, a.V, room.maxima, max, kLikeliest, (uint64_t*)rest);
            if (truncate_likeliest(then, likeliest, typical)) return;
        }
        keep_typical(k, a.typical_p, typical, w.row.sample_size, rest);
        then.typical_p = 1;
        if (truncate_if_few(kLeastWeight)) return;
    }
    if (a.xtc_threshold <= 0.5f) exclude_top_choices(k, a.xtc_threshold);
    if (cut) drop_after(k, last_from(k, mass_of(k) * __builtin_exp2(-a.max_bits)));
    *a.kept = count_from(k, kLeastWeight);
    *a.log_sum = double(max) / a.temperature + __builtin_log(mass_of(k));
}

void truncate(const TruncateArgs& a, Team& team) {
    if (team.index != 0) return;
    int64_t blocks = max_blocks(a.V), bytes = (blocks * sizeof(float) + 63) / 64 * 64;
    Room room;
    room.maxima = (float*)a.scratch;
    room.numbers = (uint64_t*)(a.scratch + bytes);
    room.floats = (float*)(room.numbers + 2 * kFew);
    float max = block_maxima(a.logits, a.V, room.maxima);
    if (!(max > -__builtin_inff())) return keep_only(a, a.V);
    if (max == __builtin_inff()) {
        int64_t first = 0;
        while (a.logits[first] != max) ++first;
        return keep_only(a, first);
    }
    int64_t most = a.top_k > 0 ? a.top_k : a.V;
    float limit = -__builtin_inff();
    if (a.top_n_sigma > 0) {
        limit = sigma_limit(a, max);
        int64_t left = count_ge(a.logits, a.V, limit);
        if (left < most) most = left;
    }
    if (most > kFew) {
        if (a.top_n_sigma > 0) drop_below(a, room.maxima, limit);
        return truncate_many(a, max, room);
    }
    Largest top = largest(a.logits, a.V, room.maxima, max, most, (uint64_t*)room.floats);
    truncate_few(a, top.first, top.count);
}

}  // namespace genfast::GENFAST_ISA
