#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

// Sixteen channels (n of them, at the end) of one sequence. A row's taps reach back into the state
// for its first W - 1 tokens only.
template <Activation activation>
static void convolve(const CausalConv1dArgs& a, const SequenceSpan& span, int64_t c, int n) {
    const int64_t before = a.W - 1;
    const float* old = a.state.before(span);
    float* kept = a.state.after(span);
    const float* rows = a.x + span.row * a.columns + a.first + c;
    auto token = [&](int64_t t) GENFAST_MEMBER {  // t < 0: before this step
        if (t >= 0) return vload_n(rows + t * a.columns, n);
        return old ? vload_n(old + (before + t) * a.C + c, n) : vzero();
    };
    Vec taps[kMaxConvWidth];
    for (int64_t k = 0; k < a.W; ++k) taps[k] = vload_n(a.weight + k * a.C + c, n);
    const Vec bias = a.bias ? vload_n(a.bias + c, n) : vzero();
    float* out = a.out + span.row * a.C + c;
    for (int64_t t = 0; t < span.rows; ++t) {
        Vec sum = bias;
        for (int64_t k = 0; k < a.W; ++k) sum = vfma(taps[k], token(t - before + k), sum);
        vstore_n(out + t * a.C, vactivate(activation, sum), n);
    }
    // Ascending: where the state is written in place, what is read lies behind what is written.
    for (int64_t j = 0; j < before; ++j)
        vstore_n(kept + j * a.C + c, token(span.rows - before + j), n);
}

void causal_conv1d(const CausalConv1dArgs& a, Team& team) {
    Range channels = share(a.C, team, kLanes);
    for (int64_t i = 0; i < a.span_count; ++i)
        for (int64_t c = channels.begin; c < channels.end; c += kLanes) {
            const int64_t left = channels.end - c;
            const int n = int(left < kLanes ? left : kLanes);
            if (a.activation == Activation::silu)
                convolve<Activation::silu>(a, a.spans[i], c, n);
            else
                convolve<Activation::none>(a, a.spans[i], c, n);
        }
}

}  // namespace genfast::GENFAST_ISA
