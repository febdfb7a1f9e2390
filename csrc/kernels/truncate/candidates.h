// The filters of truncate.h on tokens that are sorted, the largest first: each moves one end of
// what is kept. Doubles, in the order of the definition; no STL, as every instruction set includes
// this.
#pragma once

#include <cstdint>

#include "kernels/truncate/truncate.h"

namespace genfast::GENFAST_ISA {

struct Sorted {
    const float* logit;
    double* z;       // (logit - the largest) / temperature
    double* weight;  // e^z
    int64_t first, last;
};

static void weigh(const Sorted& s, float temperature) {
    for (int64_t i = s.first; i < s.last; ++i) {
        s.z[i] = (double(s.logit[i]) - s.logit[0]) / temperature;
        s.weight[i] = __builtin_exp(s.z[i]);
    }
}

static double mass_of(const Sorted& s) {
    double mass = 0;
    for (int64_t i = s.first; i < s.last; ++i) mass += s.weight[i];
    return mass;
}

static void keep_nucleus(Sorted& s, double p) {
    double target = p * mass_of(s), sum = s.weight[s.first];
    int64_t end = s.first + 1;
    for (; end < s.last && sum < target; ++end) sum += s.weight[end];
    s.last = end;
}

static void keep_from_weight(Sorted& s, double least) {
    while (s.last - s.first > 1 && s.weight[s.last - 1] < least) --s.last;
}

// Keeps what is nearest to the mean of z, on both sides of it, until the weight reaches `target`:
// -ln p - entropy = mean - z.
static void keep_nearest(Sorted& s, double mean, double target) {
    int64_t left = s.first;  // what is kept: [left, right)
    while (left < s.last && s.z[left] > mean) ++left;
    int64_t right = left;
    double sum = 0, reach = -1;
    for (;;) {
        double before = left > s.first ? s.z[left - 1] - mean : __builtin_inf();
        double after = right < s.last ? mean - s.z[right] : __builtin_inf();
        double near = before < after ? before : after;
        // What ties with the last stays.
        if ((left == s.first && right == s.last) || (sum >= target && near > reach)) break;
        sum += before < after ? s.weight[--left] : s.weight[right++];
        reach = near;
    }
    s.first = left;
    s.last = right;
}

static void keep_typical(Sorted& s, double p) {
    double mass = 0, mean = 0;
    for (int64_t i = s.first; i < s.last; ++i) {
        mass += s.weight[i];
        mean += s.weight[i] * s.z[i];
    }
    keep_nearest(s, mean / mass, p * mass);
}

static void exclude_top_choices(Sorted& s, double threshold) {
    double least = threshold * mass_of(s);
    int64_t likely = s.first;
    while (likely < s.last && s.weight[likely] >= least) ++likely;
    if (likely - s.first >= 2) s.first = likely - 1;
}

static void keep_probable(const TruncateArgs& a, Sorted& s) {
    if (a.top_p < 1) keep_nucleus(s, a.top_p);
    if (a.min_p > 0) keep_from_weight(s, a.min_p);
}

static void keep_after_typical(const TruncateArgs& a, Sorted& s) {
    if (a.xtc_threshold <= 0.5f) exclude_top_choices(s, a.xtc_threshold);
    if (a.max_bits < __builtin_inf()) keep_from_weight(s, mass_of(s) * __builtin_exp2(-a.max_bits));
}

static void tell(const TruncateArgs& a, const Sorted& s) {
    *a.kept = s.last - s.first;
    *a.log_sum = double(s.logit[0]) / a.temperature + __builtin_log(mass_of(s));
}

// Nothing can be drawn, or the one +infinity, which no distribution has.
static void keep_only(const TruncateArgs& a, int64_t id) {
    for (int64_t v = 0; v < a.V; ++v)
        if (v != id) a.logits[v] = -__builtin_inff();
    *a.kept = id < a.V ? 1 : 0;
    *a.log_sum = id < a.V ? __builtin_inf() : -__builtin_inf();
}

}  // namespace genfast::GENFAST_ISA
