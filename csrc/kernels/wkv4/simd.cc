#include "kernels/table.h"
#include "simd/math.h"

namespace genfast::GENFAST_ISA {
namespace {

// e^(a - m) and e^(b - m), m the larger of a and b. Where either is NaN, so is the second of these.
struct Shares {
    Vec a, b;
};

GENFAST_INLINE Shares shares_of(Vec a, Vec b) {
    const Vec ahead = vsub(a, b), one = vset(1.0f);
    const Vec smaller = vexp(vsub(vzero(), vabs(ahead)));
    return {vselect_lt(ahead, vzero(), smaller, one), vselect_lt(ahead, vzero(), one, smaller)};
}

// Sixteen channels (n of them, at the end) of one sequence, whose state stays in registers.
GENFAST_INLINE void attend(const Wkv4Args& a, const SequenceSpan& span, int64_t c, int n) {
    const float* old = a.state.before(span);
    Vec sum = vzero(), weights = vzero(), top = vset(kWkvNone);
    if (old) {
        sum = vload_n(old + c, n);
        weights = vload_n(old + a.C + c, n);
        top = vload_n(old + 2 * a.C + c, n);
    }
    const Vec w = vload_n(a.w + c, n), u = vload_n(a.u + c, n);
    for (int64_t t = span.row; t < span.row + span.rows; ++t) {
        const Vec k = vload_n(a.k + t * a.C + c, n), v = vload_n(a.v + t * a.C + c, n);
        const Shares now = shares_of(top, vadd(k, u));
        vstore_n(a.out + t * a.C + c,
                 vdiv(vfma(now.a, sum, vmul(now.b, v)), vfma(now.a, weights, now.b)), n);

        const Vec faded = vadd(top, w);
        const Shares next = shares_of(faded, k);
        sum = vfma(next.a, sum, vmul(next.b, v));
        weights = vfma(next.a, weights, next.b);
        top = vmax(faded, k);
    }
    float* kept = a.state.after(span);
    vstore_n(kept + c, sum, n);
    vstore_n(kept + a.C + c, weights, n);
    vstore_n(kept + 2 * a.C + c, top, n);
}

}  // namespace

void wkv4(const Wkv4Args& a, Team& team) {
    Range channels = share(a.C, team, kLanes);
    for (int64_t i = 0; i < a.span_count; ++i)
        for (int64_t c = channels.begin; c < channels.end; c += kLanes) {
            const int64_t left = channels.end - c;
            attend(a, a.spans[i], c, int(left < kLanes ? left : kLanes));
        }
}

}  // namespace genfast::GENFAST_ISA
