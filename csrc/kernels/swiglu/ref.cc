#include "kernels/activation/formula.h"
#include "kernels/table.h"

namespace genfast::ref {

void swiglu(const SwigluArgs& a, Team& team) {
    Range part = share(a.T * a.F, team);
    for (int64_t i = part.begin; i < part.end; ++i) {
        const float* gate = a.x + i / a.F * 2 * a.F + i % a.F;
        a.out[i] = float(activate_gated(a.kind, gate[0], gate[a.F]));
    }
}

}  // namespace genfast::ref
