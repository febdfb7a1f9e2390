// The kernels with recurrent state: against the reference, and in pieces as in one.
#include <cmath>

#include "kernels/check.h"

namespace genfast {
namespace {

constexpr int64_t kTokens = 13, kCut = 5;

// fn(spans, state) for one sequence's tokens at once, in the same slot in two pieces, and beside
// another sequence: the state must be the same too.
template <class Fn>
void check_pieces(Check& c, const std::string& what, int64_t floats, const Floats& out, Fn fn) {
    const SequenceSpan whole{0, kTokens, 0, nullptr, -1, 0};
    const SequenceSpan first{0, kCut, 0, nullptr, -1, 1};
    const SequenceSpan rest{kCut, kTokens - kCut, kCut, nullptr, 1, 1};
    Floats state(size_t(2 * floats), 7.0f);
    const StateSlots slots{state.data(), floats};
    fn(&whole, 1, slots);
    const Floats expected = out;
    fn(&first, 1, slots);
    fn(&rest, 1, slots);
    c.same(cat(what, ": in pieces"), out, expected);
    c.same(cat(what, ": the state"), Floats(state.begin(), state.begin() + floats),
           Floats(state.begin() + floats, state.end()));
    const SequenceSpan both[] = {{0, kCut, 0, nullptr, -1, 0},
                                 {kCut, kTokens - kCut, 0, nullptr, -1, 1}};
    fn(both, 2, slots);
    c.same(cat(what, ": beside another"),
           Floats(out.begin(), out.begin() + int64_t(out.size()) / kTokens * kCut),
           Floats(expected.begin(), expected.begin() + int64_t(out.size()) / kTokens * kCut));
}

void check_conv(Check& c) {
    const int64_t C = c.numbers.integer(1, 70), W = c.numbers.integer(2, kMaxConvWidth);
    const int64_t columns = C + c.numbers.integer(0, 5), first = columns - C;
    Floats x = c.numbers.floats(kTokens * columns), weight = c.numbers.floats(W * C);
    Floats bias = c.numbers.floats(C), got(size_t(kTokens * C)), want(got.size());
    CausalConv1dArgs args{};
    args.x = x.data();
    args.weight = weight.data();
    args.bias = bias.data();
    args.C = C;
    args.W = W;
    args.columns = columns;
    args.first = first;
    for (Activation kind : {Activation::none, Activation::silu}) {
        args.activation = kind;
        auto with = [&](auto* kernel, float* out, int threads) {
            return [=, &args](const SequenceSpan* spans, int64_t count, StateSlots state) {
                args.out = out;
                args.spans = spans;
                args.span_count = count;
                args.state = state;
                run(kernel, args, threads);
            };
        };
        const int64_t floats = conv1d_state_floats(C, W);
        Floats state(static_cast<size_t>(floats));
        const SequenceSpan whole{0, kTokens, 0, nullptr, -1, 0};
        with(c.ref.causal_conv1d, want.data(), 1)(&whole, 1, {state.data(), floats});
        with(c.fast.causal_conv1d, got.data(), 2)(&whole, 1, {state.data(), floats});
        // W + 1 terms of at most 4, and silu's slope and roundings.
        c.near("causal_conv1d", got, want,
               [&](size_t) { return double(W + 1) * 4 * (double(W) + 40) * kEps; });
        c.digest("causal_conv1d", got);
        check_pieces(c, "causal_conv1d", floats, got, with(c.fast.causal_conv1d, got.data(), 2));
    }
}

void check_scan(Check& c, bool by_channel) {
    const int64_t groups = by_channel ? 1 : 2, heads = by_channel ? 1 : 4;
    const int64_t P = c.numbers.integer(1, 40), N = c.numbers.integer(1, 20);
    const int64_t channels = heads * P, rates = by_channel ? channels : heads;
    Floats x = c.numbers.floats(kTokens * channels), dt = c.numbers.floats(kTokens * rates, 2);
    Floats z = c.numbers.floats(kTokens * channels),
           A = c.numbers.floats(by_channel ? N * rates : rates);
    Floats B = c.numbers.floats(kTokens * groups * N), C = c.numbers.floats(kTokens * groups * N);
    Floats D = c.numbers.floats(channels), bias = c.numbers.floats(rates);
    for (float& a : A) a = -0.1f - std::fabs(a);
    Floats got(x.size()), want(x.size());
    SelectiveScanArgs args{};
    args.x = {x.data(), channels};
    args.dt = {dt.data(), rates};
    args.B = {B.data(), groups * N};
    args.C = {C.data(), groups * N};
    args.z = {z.data(), channels};
    args.A = A.data();
    args.D = D.data();
    args.dt_bias = bias.data();
    args.heads = heads;
    args.head_dim = P;
    args.N = N;
    args.groups = groups;
    args.by_channel = by_channel;
    args.dt_min = 0.01f;
    args.dt_max = 3;
    auto with = [&](auto* kernel, float* out, int threads) {
        return [=, &args](const SequenceSpan* spans, int64_t count, StateSlots state) {
            args.out = out;
            args.spans = spans;
            args.span_count = count;
            args.state = state;
            run(kernel, args, threads);
        };
    };
    const int64_t floats = scan_state_floats(heads, P, N);
    Floats state(static_cast<size_t>(floats));
    const SequenceSpan whole{0, kTokens, 0, nullptr, -1, 0};
    with(c.ref.selective_scan, want.data(), 1)(&whole, 1, {state.data(), floats});
    with(c.fast.selective_scan, got.data(), 2)(&whole, 1, {state.data(), floats});
    // States of at most 13 terms of 3 * 2 * 2, twenty of them times 2, each with some roundings a
    // token, times a gate of at most 2.
    c.near("selective_scan", got, want,
           [&](size_t) { return 13 * 12 * 20 * 2 * 2 * 13 * 8 * kEps; });
    c.digest("selective_scan", got);
    check_pieces(c, "selective_scan", floats, got, with(c.fast.selective_scan, got.data(), 2));
}

void check_wkv4(Check& c) {
    const int64_t C = c.numbers.integer(1, 70), floats = wkv4_state_floats(C);
    Floats k = c.numbers.floats(kTokens * C, 4), v = c.numbers.floats(kTokens * C);
    Floats w = c.numbers.floats(C), u = c.numbers.floats(C);
    Floats got(k.size()), want(k.size()), state(static_cast<size_t>(floats));
    for (float& x : w) x = -std::fabs(x);
    Wkv4Args args{};
    args.k = k.data();
    args.v = v.data();
    args.w = w.data();
    args.u = u.data();
    args.C = C;
    auto with = [&](auto* kernel, float* out, int threads) {
        return [=, &args](const SequenceSpan* spans, int64_t count, StateSlots slots) {
            args.out = out;
            args.spans = spans;
            args.span_count = count;
            args.state = slots;
            run(kernel, args, threads);
        };
    };
    const SequenceSpan whole{0, kTokens, 0, nullptr, -1, 0};
    with(c.ref.wkv4, want.data(), 1)(&whole, 1, {state.data(), floats});
    with(c.fast.wkv4, got.data(), 2)(&whole, 1, {state.data(), floats});
    // A mean of values of at most 2, whose weights have exponents of at most 40 and a few roundings
    // more a token.
    c.near("wkv4", got, want, [&](size_t) { return 2 * 2 * 13 * (40 + 8) * kEps; });
    c.digest("wkv4", got);
    check_pieces(c, "wkv4", floats, got, with(c.fast.wkv4, got.data(), 2));
}

// What wkv6 and wkv7 share, but for their operands.
template <class Args>
void check_wkv(Check& c, const char* name, Args& args, void (*ref)(const Args&, Team&),
               void (*fast)(const Args&, Team&), double bound) {
    Floats got(size_t(kTokens * args.heads * args.D)), want(got.size());
    args.eps = 0.1f;
    auto with = [&](auto* kernel, float* out, int threads) {
        return [=, &args](const SequenceSpan* spans, int64_t count, StateSlots state) {
            args.out = out;
            args.spans = spans;
            args.span_count = count;
            args.state = state;
            run(kernel, args, threads);
        };
    };
    const int64_t floats = wkv_state_floats(args.heads, args.D);
    Floats state(static_cast<size_t>(floats));
    const SequenceSpan whole{0, kTokens, 0, nullptr, -1, 0};
    with(ref, want.data(), 1)(&whole, 1, {state.data(), floats});
    with(fast, got.data(), 2)(&whole, 1, {state.data(), floats});
    c.near(name, got, want, [&](size_t) { return bound; });
    c.digest(name, got);
    check_pieces(c, name, floats, got, with(fast, got.data(), 2));
}

void check_wkv6(Check& c) {
    const int64_t heads = c.numbers.integer(1, 3), D = c.numbers.integer(2, 40), C = heads * D;
    std::vector<Floats> columns, vectors;
    for (int i = 0; i < 5; ++i) columns.push_back(c.numbers.floats(kTokens * C));
    for (int i = 0; i < 3; ++i) vectors.push_back(c.numbers.floats(C));
    Wkv6Args args{};
    args.r = columns[0].data();
    args.k = columns[1].data();
    args.v = columns[2].data();
    args.g = columns[3].data();
    args.w = columns[4].data();
    args.u = vectors[0].data();
    args.weight = vectors[1].data();
    args.bias = vectors[2].data();
    args.heads = heads;
    args.D = D;
    args.w_stride = c.numbers.integer(0, 1) * C;
    // A state of at most 13 terms of 2 * 2, forty of them times 2, each with some roundings a
    // token, over a deviation of at least 0.3, times 2 and a gate of 2. (test_wkv6.py's is tight.)
    const double bound = 13 * 4 * 40 * 2 * 13 / 0.3 * 2 * 2 * kEps;
    check_wkv(c, "wkv6", args, c.ref.wkv6, c.fast.wkv6, bound);
}

void check_wkv7(Check& c) {
    const int64_t heads = c.numbers.integer(1, 3), D = c.numbers.integer(2, 40), C = heads * D;
    std::vector<Floats> columns, vectors;
    for (int i = 0; i < 8; ++i) columns.push_back(c.numbers.floats(kTokens * C));
    for (int i = 0; i < 5; ++i) vectors.push_back(c.numbers.floats(C));
    Wkv7Args args{};
    args.r = columns[0].data();
    args.w = columns[1].data();
    args.k = columns[2].data();
    args.v = columns[3].data();
    args.a = columns[4].data();
    args.g = columns[5].data();
    args.v_first = columns[6].data();
    args.m = columns[7].data();
    args.k_k = vectors[0].data();
    args.k_a = vectors[1].data();
    args.r_k = vectors[2].data();
    args.weight = vectors[3].data();
    args.bias = vectors[4].data();
    args.heads = heads;
    args.D = D;
    // A state of at most 13 terms of 2 * 3 * 2, forty of them times 2, each with some roundings a
    // token, over a deviation of at least 0.3, times 2 and a gate of 2. (test_wkv7.py's is tight.)
    const double bound = 13 * 12 * 40 * 2 * 13 / 0.3 * 2 * 2 * kEps;
    check_wkv(c, "wkv7", args, c.ref.wkv7, c.fast.wkv7, bound);
}

}  // namespace

void check_state(Check& c) {
    for (int i = 0; i < 4; ++i) {
        check_conv(c);
        check_scan(c, false);
        check_scan(c, true);
        check_wkv4(c);
        check_wkv6(c);
        check_wkv7(c);
    }
}

}  // namespace genfast
