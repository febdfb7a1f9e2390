// matmul: out = f(x @ w^T + bias) + residual
//   x [M, K] f32; w a packed matrix [N, K] (quant/format.h); bias [N] f32; residual, out [M, N] f32
//   A gated w [2F, K] holds gate and up: out [M, F] = f(x @ gate^T + ...) * (x @ up^T + ...) +
//   residual. int8 and int4 quantise each row of x to 8 bits with one scale: max|x| / 127, ties to
//   even; int8 rotates it first (quant/rotation.h), as its weights are.
//
// Numerics: the order in which an output adds up over k depends on K alone, not on M or the thread
//   f32, f16   acc = fma(x[k], w[k], acc) in float, k = 0, 1, 2, 3 ...
//   bf16       the same with x rounded to bf16 and k = 1, 0, 3, 2 ...: what vdpbf16ps does, so that
//              CPUs with and without it agree (but for denormal numbers, which it flushes)
//              On `amx` as tdpbf16ps does: of each 32 k two chains, over the even and the odd ones,
//              from 0 and k ascending; then acc = acc + (even + odd). Denormals are flushed too.
//   fp8        as bf16, of which its numbers are some; out = sum * w_scale
//   int8       exact int32 sum over all K; out = float(sum) * (x_scale * w_scale)
//   int4       exact int32 sum per group; acc = fma(float(sum), w_scale, acc); out = acc * x_scale
// then + bias, activation, * up, + residual, each rounded to float.
//
// `scratch` holds the activations as the kernel wants them (packed, quantised), shared by the team;
// the size comes from matmul_scratch_bytes of the same instruction set.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/matmul/rows_for.h"

namespace genfast {

struct Patches;  // patches.h

struct MatmulArgs {
    const float* x;
    Matrix w;
    const float* bias;      // may be null
    const float* residual;  // may be null; may be out
    float* out;
    std::byte* scratch;
    int64_t M;
    Activation activation;
    const Patches* patches = nullptr;  // x is images, and row m of it a patch of them
    int64_t x_row = 0, out_row = 0;    // floats from one row to the next; 0: they lie end to end
    bool prepared = false;             // x is what an op left by RowsFor
    RowsFor rows_for = {};             // of out, without out_row
};

GENFAST_ANYWHERE int64_t x_row(const MatmulArgs& a) {
    return a.x_row ? a.x_row : a.w.K;
}
GENFAST_ANYWHERE int64_t out_row(const MatmulArgs& a) {
    return a.out_row ? a.out_row : outputs(a.w);
}

}  // namespace genfast
