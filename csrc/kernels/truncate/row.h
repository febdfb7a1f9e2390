// A row of logits with the weights of its tokens, from which filters take what they do not keep.
#pragma once

#include "kernels/sample/weights.h"

namespace genfast::GENFAST_ISA {

GENFAST_INLINE Vec load_some(const float* p, int count) {
    return count == kLanes ? vload(p) : vload_n(p, count);
}
GENFAST_INLINE uint32_t first_bits(int count) {
    return (1u << count) - 1;
}

struct Kept {
    float* logit;   // -infinity: not kept
    float* weight;  // e^((logit - max) / temperature); 0: not kept. Null: the logits stand for them
    int64_t n;
    float max, scale;  // scale: 1 / temperature

    // (logit - max) / temperature; of what has no weight, something finite.
    GENFAST_MEMBER Vec z(int64_t i, int count) const {
        Vec x = load_some(logit + i, count);
        return vmax(vmul(vsub(x, vset(max)), vset(scale)), vset(-88));  // NaN gives -88
    }
    GENFAST_MEMBER Vec w(int64_t i, int count) const {
        return load_some((weight ? weight : logit) + i, count);
    }
};

// Calls visit(i, count) for the tokens from begin to end, sixteen at a time.
template <class Visit>
GENFAST_INLINE void each(int64_t begin, int64_t end, Visit visit) {
    for (; begin + kLanes <= end; begin += kLanes) visit(begin, kLanes);
    if (begin < end) visit(begin, int(end - begin));
}

// Drops the tokens for which choose(i, count, Vec weight, Vec x, Vec none) gives none in place of
// x.
template <class Choose>
GENFAST_INLINE void drop(const Kept& k, int64_t begin, int64_t end, Choose choose) {
    each(begin, end, [&](int64_t i, int count) {
        Vec w = k.w(i, count);
        Vec x = load_some(k.logit + i, count);
        // The weight first: a choice may look at the logits.
        Vec weight = choose(i, count, w, w, vzero());
        vstore_n(k.logit + i, choose(i, count, w, x, vset(-__builtin_inff())), count);
        if (k.weight) vstore_n(k.weight + i, weight, count);
    });
}

// Keeps the tokens up to and with `last`, largest weight first, equal ones by id.
static void drop_after(const Kept& k, Place last) {
    Vec limit = vset(last.value);
    int64_t middle = last.id < k.n ? last.id + 1 : k.n;
    drop(k, 0, middle,
         [&](int64_t, int, Vec w, Vec x, Vec none) { return vselect_lt(w, limit, none, x); });
    drop(k, middle, k.n,
         [&](int64_t, int, Vec w, Vec x, Vec none) { return vselect_lt(limit, w, x, none); });
}

// Keeps the tokens from `first` on.
static void drop_before(const Kept& k, Place first) {
    Vec limit = vset(first.value);
    drop(k, 0, first.id,
         [&](int64_t, int, Vec w, Vec x, Vec none) { return vselect_lt(w, limit, x, none); });
    drop(k, first.id, k.n,
         [&](int64_t, int, Vec w, Vec x, Vec none) { return vselect_lt(limit, w, none, x); });
}

// Calls take(index) for every token of at least this weight, in order.
template <class Take>
GENFAST_INLINE void each_from(const Kept& k, float least, Take take) {
    each(0, k.n, [&](int64_t i, int count) {
        uint32_t mask = vmask_ge(k.w(i, count), vset(least)) & first_bits(count);
        for (; mask; mask &= mask - 1) take(i + __builtin_ctz(mask));
    });
}

static double mass_of(const Kept& k) {
    return block_sum(k.n, [&](int64_t i, int count) { return k.w(i, count); });
}

static int64_t count_from(const Kept& k, float least) {
    return count_ge(k.weight, k.n, least);
}

static Place largest_of(const Kept& k) {
    float max = row_max(k.weight, k.n);
    int32_t id = 0;
    while (k.weight[id] != max) ++id;
    return {max, id, 0};
}

}  // namespace genfast::GENFAST_ISA
