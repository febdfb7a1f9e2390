// The activations over Vec: kernels/activation and the epilogues of matmul and swiglu.
// `kind` is the same for a whole call: hoist it (template or switch) out of hot loops.
#pragma once

#include "kernels/activation/activation.h"
#include "simd/tanh.h"

namespace genfast::GENFAST_ISA {

// x / (1 + 2^y). NaN in x stays NaN; y at most 126.
GENFAST_INLINE Vec vgate(Vec x, Vec y) {
    return vdiv(x, vadd(vset(1.0f), vexp2_down(y, -126)));
}

// x / (1 + e^-x). Below -87 it is that of -87, which is -1e-36. (vmax gives its second argument
// when either is NaN.)
GENFAST_INLINE Vec vsilu(Vec x) {
    x = vmax(vset(-87.0f), x);
    return vgate(x, vmul(x, vset(-1.44269504f)));
}

// Below -13 it is that of -13, which is -1e-37.
GENFAST_INLINE Vec vgelu(Vec x) {
    x = vmax(vset(-13.0f), x);
    return vmul(x, vnormal_cdf(x));
}

// 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3). Below -9.9 it is that
// of -9.9, which is -1e-36.
GENFAST_INLINE Vec vgelu_tanh(Vec x) {
    constexpr float linear = float(-2 * 1.4426950408889634 * 0.79788456080286536);
    x = vmax(vset(-9.9f), x);
    Vec cubic = vfma(vmul(x, x), vset(0.044715f * linear), vset(linear));
    return vgate(x, vmul(x, cubic));
}

// y / (1 + e^-1.702y), y = min(x, 7). Below -51 it is that of -51, which is -1e-36.
GENFAST_INLINE Vec vclamped_silu(Vec x) {
    x = vmax(vset(-51.0f), vmin(vset(kClampedLimit), x));
    return vgate(x, vmul(x, vset(-1.44269504f * kClampedSlope)));
}

// Below -51 it is that of -51, which is -1e-36.
GENFAST_INLINE Vec vquick_gelu(Vec x) {
    x = vmax(vset(-51.0f), x);
    return vgate(x, vmul(x, vset(-1.44269504f * kQuickSlope)));
}

// 1 / (1 + e^-x). Below -87 it is that of -87, which is 2e-38. The 1 above is NaN where x is, and
// x below 88 so that it is not where x is infinite.
GENFAST_INLINE Vec vsigmoid(Vec x) {
    x = vmin(vset(88.0f), vmax(vset(-87.0f), x));
    return vgate(vfma(x, vzero(), vset(1.0f)), vmul(x, vset(-1.44269504f)));
}

GENFAST_INLINE Vec vactivate(Activation kind, Vec x) {
    switch (kind) {
        case Activation::relu:
            return vselect_lt(x, vzero(), vzero(), x);  // NaN stays NaN
        case Activation::silu:
            return vsilu(x);
        case Activation::gelu:
            return vgelu(x);
        case Activation::gelu_tanh:
            return vgelu_tanh(x);
        case Activation::clamped_silu:
            return vclamped_silu(x);
        case Activation::quick_gelu:
            return vquick_gelu(x);
        case Activation::tanh:
            return vtanh(x);
        case Activation::leaky_relu:
            return vselect_lt(x, vzero(), vmul(x, vset(kLeakySlope)), x);
        case Activation::relu2:
            return vselect_lt(x, vzero(), vzero(), vmul(x, x));
        case Activation::sigmoid:
            return vsigmoid(x);
        case Activation::none:
            break;
    }
    return x;
}

// f(gate) * up
GENFAST_INLINE Vec vactivate_gated(Activation kind, Vec gate, Vec up) {
    if (kind == Activation::clamped_silu) {
        const Vec limit = vset(kClampedLimit);
        up = vadd(vmax(vsub(vzero(), limit), vmin(limit, up)), vset(1.0f));
    }
    return vmul(vactivate(kind, gate), up);
}

}  // namespace genfast::GENFAST_ISA
