// From the tokens that decide to the one that is drawn, without sorting them: each finds what lies
// before it by a look at all others.
#pragma once

#include "kernels/sample/cuda_row.h"

namespace genfast::cuda {

constexpr int kChoosers = 512;  // threads of the block
constexpr int kEach = kListed / kChoosers;

__device__ inline uint64_t total_of(uint64_t mine) {
    return over_threads<kChoosers>(mine, [](uint64_t a, uint64_t b) { return a + b; });
}
__device__ inline uint64_t least_of(uint64_t mine) {
    return over_threads<kChoosers>(mine, [](uint64_t a, uint64_t b) { return a < b ? a : b; });
}
__device__ inline bool any_of(bool mine) {
    return over_threads<kChoosers>(int(mine), [](int a, int b) { return a | b; }) != 0;
}

struct Token {
    uint64_t candidate = 0, mass = 0;  // 0: there is none
    uint64_t before = 0;               // the mass of larger ones
    int rank = 0;                      // how many those are
    double weight = 0;
    __device__ uint64_t upto() const { return before + mass; }
};

struct List {
    uint64_t candidates[kListed], masses[kListed];
};
__device__ inline List& shared_list() {
    __shared__ List list;
    return list;
}

// A thread's share of the list.
template <class MassOf>
__device__ void load_tokens(const RowState& row, Token (&tokens)[kEach], MassOf mass_of) {
    List& list = shared_list();
    const int count = int(row.listed);
    for (int e = 0; e < kEach; ++e) {
        const int i = int(threadIdx.x) + e * kChoosers;
        if (i >= count) continue;
        tokens[e].candidate = list.candidates[i] = row.list[i];
        tokens[e].mass = list.masses[i] = mass_of(tokens[e]);
    }
    __syncthreads();
    for (int i = 0; i < count; ++i)
        for (Token& token : tokens)
            if (list.candidates[i] > token.candidate) {
                token.before += list.masses[i];
                ++token.rank;
            }
}

// The token of the only thread that has one, unless somebody doubts it.
__device__ inline int32_t agree(uint64_t mine, bool doubt) {
    const uint64_t chosen = total_of(mine);
    return any_of(doubt) || chosen == 0 ? kUnsure : candidate_index(chosen);
}

__device__ inline bool is_near(double a, double b, double distance) {
    return fabs(a - b) <= distance;
}

// As `sample`'s draw_few, whose sums of n doubles are off by n 2^-53 of them, two exponentials by
// an ulp each; a mass here is off by less than a unit.
__device__ inline int32_t choose_few(const RowState& row, const RowDraw& how, double max) {
    Token tokens[kEach];
    load_tokens(row, tokens, [&](Token& token) {
        token.weight = exp((double(candidate_value(token.candidate)) - max) / how.temperature);
        return uint64_t(token.weight * kUnits);
    });
    const int k = how.way == Way::top_k ? how.top_k : kListed;
    uint64_t mine = 0;
    for (Token& token : tokens) {
        if (token.rank >= k) token = {};
        mine += token.mass;
    }
    const double total = double(total_of(mine)), wanted = how.top_p * total;
    const double blur = 2 * kListed + total * 0x1p-40;

    bool doubt = false, kept[kEach];
    uint64_t last = ~uint64_t(0);
    mine = 0;
    for (int e = 0; e < kEach; ++e) {
        const Token& token = tokens[e];
        kept[e] = token.candidate != 0;
        if (!kept[e]) continue;
        if (token.rank > 0) {
            if (how.top_p < 1) {
                kept[e] = double(token.before) < wanted;
                doubt |= is_near(double(token.before), wanted, blur);
            }
            kept[e] = kept[e] && token.weight >= how.min_p;
            doubt |= how.min_p > 0 && is_near(token.weight, how.min_p, 0x1p-48);
        }
        if (!kept[e]) continue;
        mine += token.mass;
        last = token.candidate < last ? token.candidate : last;
    }
    const double target = how.draw * double(total_of(mine));
    last = least_of(last);
    uint64_t chosen = 0;
    for (int e = 0; e < kEach; ++e) {
        const Token& token = tokens[e];
        if (!kept[e] || double(token.before) > target || double(token.upto()) <= target) continue;
        chosen = token.candidate;
        doubt |= token.rank > 0 && is_near(double(token.before), target, blur);
        doubt |= chosen != last && is_near(double(token.upto()), target, blur);
    }
    return agree(chosen, doubt);
}

// As `sample`'s draw_index. Its sums are of floats, each the end of a chain of at most 37 additions
// (search.h), and what is looked for is a share of another such sum.
__device__ inline int32_t choose_many(const RowState& row, const RowDraw& how, const Ruler& ruler,
                                      int64_t V) {
    const Plan& plan = row.plan;
    auto blur = [&](uint64_t mass) { return double(mass) * (76 * 0x1p-24) + double(V); };
    auto bin_of = [&](const Token& token) {
        return ruler.bin_of(candidate_value(token.candidate));
    };
    Token tokens[kEach];
    load_tokens(row, tokens, [&](Token& token) { return ruler.mass_of(token.candidate); });
    uint64_t mine = 0;
    for (const Token& token : tokens)
        if (token.candidate && bin_of(token) <= plan.to) mine += token.mass;
    const uint64_t drawn_from = total_of(mine);  // the mass of the bins from `from` to `to`
    for (Token& token : tokens)
        if (token.candidate)
            token.before +=
                bin_of(token) <= plan.to ? plan.before_from : plan.before_limit - drawn_from;

    // What is kept of the limit's bin: up to the token with which top_p is reached, and by min_p.
    bool doubt = false;
    uint64_t place = 0;
    if (how.top_p < 1) {
        const double wanted = double(plan.wanted);
        if (plan.reached == plan.limit) {
            for (const Token& token : tokens) {
                if (token.before >= plan.wanted || token.upto() < plan.wanted) continue;
                place = token.candidate;
                doubt |=
                    token.before > 0 && is_near(double(token.before), wanted, blur(plan.wanted));
                doubt |= is_near(double(token.upto()), wanted, blur(plan.wanted));
            }
            place = total_of(place);
        } else {
            doubt |= is_near(double(plan.before_reached), wanted, blur(plan.wanted));
        }
    }
    const uint64_t strong = how.min_p > 0 ? candidate(how.min_p, 0) >> 32 << 32 : 0;
    const uint64_t least = strong > place ? strong : place;
    uint64_t last = ~uint64_t(0);
    mine = 0;
    for (const Token& token : tokens) {
        if (!token.candidate || bin_of(token) != plan.limit || token.candidate < least) continue;
        mine += token.mass;
        last = token.candidate < last ? token.candidate : last;
    }
    const uint64_t kept = plan.before_limit + total_of(mine);
    last = least_of(last);
    const uint64_t target = beyond(how.draw, kept);
    uint64_t chosen = 0;
    for (const Token& token : tokens) {
        if (token.candidate < least || token.before >= target || token.upto() < target) continue;
        chosen = token.candidate;
        doubt |=
            token.before > 0 && is_near(double(token.before), double(target), blur(token.upto()));
        doubt |=
            chosen != last && is_near(double(token.upto()), double(target), blur(token.upto()));
    }
    return agree(chosen, doubt);
}

}  // namespace genfast::cuda
