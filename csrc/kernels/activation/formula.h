// The activations in double: for the reference kernels of activation, swiglu and matmul.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/activation/activation.h"

namespace genfast::ref {

static inline double activate(Activation kind, double x) {
    switch (kind) {
        case Activation::relu:
            return x < 0 ? 0 : x;
        case Activation::silu:
            return x / (1 + std::exp(-x));
        case Activation::gelu:
            return 0.5 * x * std::erfc(-x * 0.70710678118654752440);
        case Activation::gelu_tanh:
            return x / (1 + std::exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
        case Activation::clamped_silu:
            x = std::min(x, double(kClampedLimit));
            return x / (1 + std::exp(-double(kClampedSlope) * x));
        case Activation::quick_gelu:
            return x / (1 + std::exp(-double(kQuickSlope) * x));
        case Activation::tanh:
            return std::tanh(x);
        case Activation::leaky_relu:
            return x < 0 ? double(kLeakySlope) * x : x;
        case Activation::relu2:
            return x < 0 ? 0 : x * x;
        case Activation::sigmoid:
            return 1 / (1 + std::exp(-x));
        case Activation::none:
            break;
    }
    return x;
}

// f(gate) * up
static inline double activate_gated(Activation kind, double gate, double up) {
    const double limit = kClampedLimit;
    if (kind == Activation::clamped_silu) up = std::min(std::max(up, -limit), limit) + 1;
    return activate(kind, gate) * up;
}

}  // namespace genfast::ref
