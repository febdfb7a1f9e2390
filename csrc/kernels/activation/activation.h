// activation: out = f(x), element by element; also the fused epilogue of matmul
//   none; relu; silu x*sigmoid(x); gelu 0.5x(1+erf(x/sqrt2)); gelu_tanh (the tanh form of GPT-2)
#pragma once

#include <cstdint>

namespace genfast {

enum class Activation : uint8_t { none, relu, silu, gelu, gelu_tanh };

struct ActivationArgs {
    const float* x;
    float* out;  // may be x
    int64_t count;
    Activation kind;
};

}  // namespace genfast
