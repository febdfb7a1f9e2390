// activation: out = f(x), element by element; also the fused epilogue of matmul
//   none; relu; silu x*sigmoid(x); gelu 0.5x(1+erf(x/sqrt2)); gelu_tanh (the tanh form of GPT-2);
//   clamped_silu y*sigmoid(1.702y), y = min(x, 7): gpt-oss's, whose gate is multiplied with up kept
//   within 7, plus 1 (arXiv 2508.10925); all others with up as it is
//   quick_gelu x*sigmoid(1.702x) (CLIP); tanh; leaky_relu x < 0 ? 0.2x : x (the slope of GANs);
//   relu2 max(x, 0)^2 (arXiv 2109.08668); sigmoid
#pragma once

#include <cstdint>

namespace genfast {

enum class Activation : uint8_t {
    none,
    relu,
    silu,
    gelu,
    gelu_tanh,
    clamped_silu,
    quick_gelu,
    tanh,
    leaky_relu,
    relu2,
    sigmoid
};

constexpr float kClampedSlope = 1.702f, kClampedLimit = 7;
constexpr float kQuickSlope = 1.702f, kLeakySlope = 0.2f;

struct ActivationArgs {
    const float* x;
    float* out;  // may be x
    int64_t count;
    Activation kind;
};

}  // namespace genfast
