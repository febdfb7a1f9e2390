// Elementary functions over Vec. Errors are stated in units of the last place (ulp) of a float.
#pragma once

#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

// e^x within 2 ulp for x >= -87.3; smaller x give exactly 0, x = 0 exactly 1, x > 88.37 e^88.37,
// NaN NaN (vmin and vmax give their second argument when either is NaN). Range reduction by n =
// round(x / ln 2) in two steps (Cody and Waite), then a Taylor polynomial of degree 7 on |r| <=
// ln(2) / 2, whose remainder is below 2^-27.
GENFAST_INLINE Vec vexp(Vec x) {
    Vec tiny = vset(-87.3f);
    Vec clamped = vmin(vset(88.37f), vmax(tiny, x));
    Vec n = vround(vmul(clamped, vset(1.44269504f)));
    Vec r = vfma(n, vset(-0.693359375f), clamped);
    r = vfma(n, vset(2.12194440e-4f), r);
    Vec p = vset(1.0f / 5040);
    p = vfma(p, r, vset(1.0f / 720));
    p = vfma(p, r, vset(1.0f / 120));
    p = vfma(p, r, vset(1.0f / 24));
    p = vfma(p, r, vset(1.0f / 6));
    p = vfma(p, r, vset(0.5f));
    p = vfma(p, r, vset(1.0f));
    p = vfma(p, r, vset(1.0f));
    return vselect_lt(x, tiny, vzero(), vscale2(p, n));
}

// 2^x for -126 <= x <= 127; 2^0 is exactly 1, NaN gives NaN. The polynomial is the best for the
// relative error on [-1/2, 1/2] with constant term 1: of degree 5, within 1.5 ulp; of degree 4,
// within 3e-6, for what is rounded to fewer bits than that anyway.
template <int degree = 5>
GENFAST_INLINE Vec vexp2_within(Vec x) {
    static_assert(degree == 4 || degree == 5);
    Vec n = vround(x), r = vsub(x, n), p;
    if constexpr (degree == 5) {
        p = vset(0.00132647285f);
        p = vfma(p, r, vset(0.00967151299f));
        p = vfma(p, r, vset(0.0555073358f));
        p = vfma(p, r, vset(0.240222424f));
        p = vfma(p, r, vset(0.693147004f));
    } else {
        p = vset(0.00958285294f);
        p = vfma(p, r, vset(0.0559064262f));
        p = vfma(p, r, vset(0.240240991f));
        p = vfma(p, r, vset(0.693124175f));
    }
    p = vfma(p, r, vset(1.0f));
    return vscale2(p, n);
}

// 2^x for x <= 127, where anything below `lowest` >= -126, and NaN, counts as `lowest`.
template <int degree = 5>
GENFAST_INLINE Vec vexp2_down(Vec x, float lowest) {
    return vexp2_within<degree>(vmax(x, vset(lowest)));  // NaN gives vmax's second argument
}

// ln(1 + u) for 0 <= u <= 1 within 3 ulp: 2 artanh(s) with s = u / (2 + u) <= 1/3, whose series'
// terms after s^15 add less than 2^-29 of it.
GENFAST_INLINE Vec vlog1p_small(Vec u) {
    Vec s = vdiv(u, vadd(u, vset(2.0f))), q = vmul(s, s);
    Vec p = vset(1.0f / 15);
    p = vfma(p, q, vset(1.0f / 13));
    p = vfma(p, q, vset(1.0f / 11));
    p = vfma(p, q, vset(1.0f / 9));
    p = vfma(p, q, vset(1.0f / 7));
    p = vfma(p, q, vset(1.0f / 5));
    p = vfma(p, q, vset(1.0f / 3));
    p = vmul(p, q);
    Vec twice = vadd(s, s);
    return vfma(p, twice, twice);
}

// ln(1 + e^x) within 6 ulp, but 0 for x < -87.3; NaN stays NaN.
GENFAST_INLINE Vec vsoftplus(Vec x) {
    Vec rest = vlog1p_small(vexp(vsub(vzero(), vabs(x))));
    return vadd(vmax(vzero(), x), rest);
}

// The standard normal distribution function, Phi(x) = (1 + erf(x / sqrt 2)) / 2.
// Phi(-|x|) = e^(-x^2/2) t q(t) with t = 1 / (1 + 0.26 |x|): q is our own minimax fit (Lawson's
// iteration on 4001 points of [0, 13.3]) to a relative error of 2.0e-8. What remains is
// rounding: 2.5e-7 absolute everywhere, and relative to the tail (4 + x^2) ulp.
GENFAST_INLINE Vec vnormal_cdf(Vec x) {
    Vec size = vabs(x);
    Vec t = vdiv(vset(1.0f), vfma(size, vset(0.26f), vset(1.0f)));
    Vec q = vset(0.0308960695f);
    q = vfma(q, t, vset(-0.15474014f));
    q = vfma(q, t, vset(0.255466491f));
    q = vfma(q, t, vset(-0.155535743f));
    q = vfma(q, t, vset(0.164152339f));
    q = vfma(q, t, vset(0.0496425293f));
    q = vfma(q, t, vset(0.103391327f));
    q = vfma(q, t, vset(0.10296493f));
    q = vfma(q, t, vset(0.103762187f));
    // e^(-x^2/2) = 2^(-x^2 / (2 ln 2))
    Vec e = vexp2_down(vmul(vmul(size, size), vset(-0.72134752f)), -126);
    Vec tail = vmul(vmul(q, t), e);
    return vselect_lt(x, vzero(), tail, vsub(vset(1.0f), tail));
}

}  // namespace genfast::GENFAST_ISA
