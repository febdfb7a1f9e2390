// The activations as CUDA kernels compute them (kernels/activation/activation.h says what they
// are).
#pragma once

#include "cuda/launch.h"
#include "kernels/activation/activation.h"

namespace genfast::cuda {

__device__ inline float activate(Activation kind, float x) {
    switch (kind) {
        case Activation::relu:
            return x < 0 ? 0 : x;
        case Activation::silu:
            return x / (1 + expf(-x));
        case Activation::gelu:
            return 0.5f * x * erfcf(-x * 0.70710678f);
        case Activation::gelu_tanh:
            return x / (1 + expf(-1.59576912f * (x + 0.044715f * x * x * x)));
        case Activation::clamped_silu:
            x = fminf(x, kClampedLimit);
            return x / (1 + expf(-kClampedSlope * x));
        case Activation::quick_gelu:
            return x / (1 + expf(-kQuickSlope * x));
        case Activation::tanh:
            return tanhf(x);
        case Activation::leaky_relu:
            return x < 0 ? kLeakySlope * x : x;
        case Activation::relu2:
            return x < 0 ? 0 : x * x;
        case Activation::sigmoid:
            return 1 / (1 + expf(-x));
        case Activation::none:
            break;
    }
    return x;
}

// f(gate) * up
__device__ inline float activate_gated(Activation kind, float gate, float up) {
    if (kind == Activation::clamped_silu) up = fminf(fmaxf(up, -kClampedLimit), kClampedLimit) + 1;
    return activate(kind, gate) * up;
}

}  // namespace genfast::cuda
