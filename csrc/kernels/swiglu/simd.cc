#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

template <Activation kind>
static void gated(const float* gate, const float* up, float* out, int64_t n) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        vstore(out + i, vactivate_gated(kind, vload(gate + i), vload(up + i)));
    if (i < n) {
        int left = int(n - i);
        Vec y = vactivate_gated(kind, vload_n(gate + i, left), vload_n(up + i, left));
        vstore_n(out + i, y, left);
    }
}

static void gated(Activation kind, const float* gate, const float* up, float* out, int64_t n) {
    switch (kind) {
        case Activation::none:
            return gated<Activation::none>(gate, up, out, n);
        case Activation::relu:
            return gated<Activation::relu>(gate, up, out, n);
        case Activation::silu:
            return gated<Activation::silu>(gate, up, out, n);
        case Activation::gelu:
            return gated<Activation::gelu>(gate, up, out, n);
        case Activation::gelu_tanh:
            return gated<Activation::gelu_tanh>(gate, up, out, n);
        case Activation::clamped_silu:
            return gated<Activation::clamped_silu>(gate, up, out, n);
        case Activation::quick_gelu:
            return gated<Activation::quick_gelu>(gate, up, out, n);
        case Activation::tanh:
            return gated<Activation::tanh>(gate, up, out, n);
        case Activation::leaky_relu:
            return gated<Activation::leaky_relu>(gate, up, out, n);
        case Activation::relu2:
            return gated<Activation::relu2>(gate, up, out, n);
        case Activation::sigmoid:
            return gated<Activation::sigmoid>(gate, up, out, n);
    }
}

// Threads share the T * F outputs, so that a single row is split too.
void swiglu(const SwigluArgs& a, Team& team) {
    Range part = share(a.T * a.F, team, 256);
    for (int64_t i = part.begin; i < part.end;) {
        int64_t t = i / a.F, f = i % a.F;
        int64_t n = a.F - f < part.end - i ? a.F - f : part.end - i;
        const float* gate = a.x + t * 2 * a.F + f;
        gated(a.kind, gate, gate + a.F, a.out + i, n);
        i += n;
    }
}

}  // namespace genfast::GENFAST_ISA
