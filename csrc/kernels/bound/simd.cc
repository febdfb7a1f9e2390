#include "kernels/table.h"
#include "simd/tanh.h"

namespace genfast::GENFAST_ISA {

template <class Fn>
static void apply(const BoundArgs& a, Range part, Fn fn) {
    int64_t i = part.begin;
    for (; i + kLanes <= part.end; i += kLanes) vstore(a.out + i, fn(vload(a.x + i)));
    const int left = int(part.end - i);
    if (left > 0) vstore_n(a.out + i, fn(vload_n(a.x + i, left)), left);
}

void bound(const BoundArgs& a, Team& team) {
    const Range part = share(a.count, team, 256);
    const Vec high = vset(a.limit), low = vset(-a.limit), inverse = vset(1.0f / a.limit);
    if (a.soft)
        apply(a, part, [&](Vec x) GENFAST_MEMBER { return vmul(high, vtanh(vmul(x, inverse))); });
    else  // in this order a NaN stays one
        apply(a, part, [&](Vec x) GENFAST_MEMBER { return vmin(high, vmax(low, x)); });
}

}  // namespace genfast::GENFAST_ISA
