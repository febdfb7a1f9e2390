// The activations in double: for the reference kernels of activation, swiglu and matmul.
#pragma once

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
        case Activation::none:
            break;
    }
    return x;
}

}  // namespace genfast::ref
