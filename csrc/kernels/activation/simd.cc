#include "simd/activation.h"

#include "kernels/table.h"

namespace genfast::GENFAST_ISA {

template <Activation kind>
static void apply(const float* x, float* out, int64_t n) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) vstore(out + i, vactivate(kind, vload(x + i)));
    if (i < n) vstore_n(out + i, vactivate(kind, vload_n(x + i, int(n - i))), int(n - i));
}

void activation(const ActivationArgs& a, Team& team) {
    Range part = share(a.count, team, 256);
    const float* x = a.x + part.begin;
    float* out = a.out + part.begin;
    int64_t n = part.end - part.begin;
    switch (a.kind) {
        case Activation::none:
            return apply<Activation::none>(x, out, n);
        case Activation::relu:
            return apply<Activation::relu>(x, out, n);
        case Activation::silu:
            return apply<Activation::silu>(x, out, n);
        case Activation::gelu:
            return apply<Activation::gelu>(x, out, n);
        case Activation::gelu_tanh:
            return apply<Activation::gelu_tanh>(x, out, n);
        case Activation::clamped_silu:
            return apply<Activation::clamped_silu>(x, out, n);
        case Activation::quick_gelu:
            return apply<Activation::quick_gelu>(x, out, n);
        case Activation::tanh:
            return apply<Activation::tanh>(x, out, n);
        case Activation::leaky_relu:
            return apply<Activation::leaky_relu>(x, out, n);
        case Activation::relu2:
            return apply<Activation::relu2>(x, out, n);
        case Activation::sigmoid:
            return apply<Activation::sigmoid>(x, out, n);
    }
}

}  // namespace genfast::GENFAST_ISA
