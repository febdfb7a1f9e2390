#include "kernels/activation/formula.h"
#include "kernels/table.h"

namespace genfast::ref {

void activation(const ActivationArgs& a, Team& team) {
    Range part = share(a.count, team);
    for (int64_t i = part.begin; i < part.end; ++i) a.out[i] = float(activate(a.kind, a.x[i]));
}

}  // namespace genfast::ref
