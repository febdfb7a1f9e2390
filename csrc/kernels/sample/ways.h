// The ways in which a token is drawn. They differ in what is rounded, so they are part of what a
// seed gives: the CPU and GPUs choose alike.
//   few      the kFew largest at most, by top_k or (near) by min_p alone: sorted, weights in double
//   many     weights are floats, and tokens of equal weight count as ties
#pragma once

#include <cstdint>

#include "core/anywhere.h"

namespace genfast {

constexpr int64_t kFew = 1024;

// A float weight is 2 to ((logit - largest) times this).
static inline float exponent_scale(float temperature) {
    const double exponent = 1.4426950408889634 / temperature;
    return exponent < __FLT_MAX__ ? float(exponent) : __FLT_MAX__;
}

// What min_p alone keeps lies within a distance of the largest logit, and so above a bound that
// leaves room for rounding.
static inline double near_distance(float temperature, float min_p) {
    return -temperature * __builtin_log(double(min_p));
}
GENFAST_ANYWHERE float near_bound(float largest, double distance) {
    const double size = largest < 0 ? -double(largest) : double(largest);
    return float(largest - distance - 1e-6 * (size + distance));
}

}  // namespace genfast
