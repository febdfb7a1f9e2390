// Ops that keep recurrent state.
#include <limits>

#include "program/op_checks.h"

namespace genfast {
namespace {

// `cols` columns of a value of the step's tokens, from the attribute's on.
void check_columns(const Program& p, const Instruction& i, size_t index, const char* what,
                   const char* first, int64_t cols) {
    const Value& v = floats(p, i, index, what, kTokens);
    const int64_t from = i.integer(first);
    require(from >= 0 && from + cols <= v.cols, what, " has ", v.cols, " columns, expected ", cols,
            " from ", first, "=", from, " on");
}

// ---- causal_conv1d(x, weight, bias)
// -----------------------------------------------------------
Shape check_conv(const Program& p, const Instruction& i) {
    const Value& weight = floats(p, i, 1, "weight");
    require(weight.rows >= 2 && weight.rows <= kMaxConvWidth, "weight has ", weight.rows,
            " rows, expected a width of 2 to ", kMaxConvWidth);
    check_columns(p, i, 0, "x", "first", weight.cols);
    if (present(i, 2)) floats(p, i, 2, "bias", 1, weight.cols);
    const Activation kind = activation_named(i.text("activation", "none"));
    require(kind == Activation::none || kind == Activation::silu,
            "activation must be none or silu");
    return {kTokens, weight.cols};
}

int64_t state_conv(const Program& p, const Instruction& i) {
    const Value& weight = p.values()[size_t(i.inputs[1])];
    return conv1d_state_floats(weight.cols, weight.rows);
}

BoundOp bind_conv(const Binding& b) {
    auto* kernel = b.kernels.causal_conv1d;
    CausalConv1dArgs fixed{};
    fixed.x = b.floats(0);
    fixed.weight = b.floats(1);
    fixed.bias = b.floats(2);
    fixed.out = b.out();
    fixed.state = b.state;
    fixed.C = b.value(1).cols;
    fixed.W = b.value(1).rows;
    fixed.columns = b.value(0).cols;
    fixed.first = b.instruction.integer("first");
    fixed.activation = activation_named(b.instruction.text("activation", "none"));
    return [=](const Step& step, Team& team) {
        CausalConv1dArgs args = fixed;
        args.spans = step.spans;
        args.span_count = step.span_count;
        kernel(args, team);
    };
}

// ---- selective_scan(x, dt, bc, z, A, D, dt_bias)
// ----------------------------------------------
struct ScanSizes {
    int64_t heads, head_dim, N, groups;
    bool by_channel;

    explicit ScanSizes(const Instruction& i)
        : heads(i.integer("heads")),
          head_dim(i.integer("head_dim")),
          N(i.integer("state")),
          groups(i.integer("groups", 1)),
          by_channel(i.integer("by_channel") != 0) {}
    int64_t channels() const { return heads * head_dim; }
    int64_t rates() const { return by_channel ? channels() : heads; }
};

Shape check_scan(const Program& p, const Instruction& i) {
    const ScanSizes s(i);
    require(s.heads > 0 && s.head_dim > 0 && s.N > 0 && s.groups > 0 && s.heads % s.groups == 0,
            "heads=", s.heads, ", head_dim=", s.head_dim, ", state=", s.N,
            " must be positive, and groups=", s.groups, " divide heads");
    check_columns(p, i, 0, "x", "first", s.channels());
    check_columns(p, i, 1, "dt", "first_dt", s.rates());
    check_columns(p, i, 2, "bc", "first_bc", 2 * s.groups * s.N);
    if (present(i, 3)) check_columns(p, i, 3, "z", "first_z", s.channels());
    floats(p, i, 4, "A", s.by_channel ? s.N : 1, s.rates());
    floats(p, i, 5, "D", 1, s.channels());
    if (present(i, 6)) floats(p, i, 6, "dt_bias", 1, s.rates());
    return {kTokens, s.channels()};
}

int64_t state_scan(const Program&, const Instruction& i) {
    const ScanSizes s(i);
    return scan_state_floats(s.heads, s.head_dim, s.N);
}

BoundOp bind_scan(const Binding& b) {
    auto* kernel = b.kernels.selective_scan;
    const Instruction& i = b.instruction;
    const ScanSizes s(i);
    auto columns = [&](int input, const char* first) {
        return b.has(input) ? Columns{b.floats(input) + i.integer(first), b.value(input).cols}
                            : Columns{};
    };
    SelectiveScanArgs fixed{};
    fixed.x = columns(0, "first");
    fixed.dt = columns(1, "first_dt");
    fixed.B = fixed.C = columns(2, "first_bc");
    fixed.C.data += s.groups * s.N;
    fixed.z = columns(3, "first_z");
    fixed.A = b.floats(4);
    fixed.D = b.floats(5);
    fixed.dt_bias = b.floats(6);
    fixed.out = b.out();
    fixed.state = b.state;
    fixed.heads = s.heads;
    fixed.head_dim = s.head_dim;
    fixed.N = s.N;
    fixed.groups = s.groups;
    fixed.by_channel = s.by_channel;
    fixed.dt_min = float(i.number("dt_min"));
    fixed.dt_max = float(i.number("dt_max", std::numeric_limits<float>::infinity()));
    return [=](const Step& step, Team& team) {
        SelectiveScanArgs args = fixed;
        args.spans = step.spans;
        args.span_count = step.span_count;
        kernel(args, team);
    };
}

// ---- wkv4(k, v, w, u)
// ----------------------------------------------
Shape check_wkv4(const Program& p, const Instruction& i) {
    const int64_t channels = floats(p, i, 2, "w", 1).cols;
    floats(p, i, 0, "k", kTokens, channels);
    floats(p, i, 1, "v", kTokens, channels);
    floats(p, i, 3, "u", 1, channels);
    return {kTokens, channels};
}

int64_t state_wkv4(const Program& p, const Instruction& i) {
    return wkv4_state_floats(p.values()[size_t(i.inputs[2])].cols);
}

BoundOp bind_wkv4(const Binding& b) {
    auto* kernel = b.kernels.wkv4;
    Wkv4Args fixed{};
    fixed.k = b.floats(0);
    fixed.v = b.floats(1);
    fixed.w = b.floats(2);
    fixed.u = b.floats(3);
    fixed.out = b.out();
    fixed.state = b.state;
    fixed.C = b.value(2).cols;
    return [=](const Step& step, Team& team) {
        Wkv4Args args = fixed;
        args.spans = step.spans;
        args.span_count = step.span_count;
        kernel(args, team);
    };
}

// ---- wkv6(r, k, v, g, w, u, weight, bias) and wkv7(r, w, k, v, a, g, k_k, k_a, r_k, weight, bias,
// v_first, m)
// ----------------------------------------------
const char* const kWkv6Names[] = {"r", "k", "v", "g", "w", "u", "weight", "bias"};
const char* const kWkv7Names[] = {"r",   "w",   "k",   "v",      "a",   "g",
                                  "k_k", "k_a", "r_k", "weight", "bias"};

int64_t wkv_columns(const Instruction& i) {
    const int64_t heads = i.integer("heads"), D = i.integer("head_dim");
    require(heads > 0 && D > 0 && D <= kMaxWkvHead, "heads=", heads,
            " must be positive and head_dim=", D, " 1 to ", kMaxWkvHead);
    return heads * D;
}

int64_t state_wkv(const Program&, const Instruction& i) {
    return wkv_state_floats(i.integer("heads"), i.integer("head_dim"));
}

Shape check_wkv6(const Program& p, const Instruction& i) {
    const int64_t columns = wkv_columns(i);
    const bool alike = input(p, i, 4, "w").rows == 1;  // for all tokens
    for (size_t input = 0; input < 8; ++input)
        floats(p, i, input, kWkv6Names[input], input < (alike ? 4 : 5) ? kTokens : 1, columns);
    return {kTokens, columns};
}

BoundOp bind_wkv6(const Binding& b) {
    auto* kernel = b.kernels.wkv6;
    Wkv6Args fixed{};
    const float** const fields[] = {&fixed.r, &fixed.k, &fixed.v,      &fixed.g,
                                    &fixed.w, &fixed.u, &fixed.weight, &fixed.bias};
    for (int input = 0; input < 8; ++input) *fields[input] = b.floats(input);
    fixed.out = b.out();
    fixed.state = b.state;
    fixed.heads = b.instruction.integer("heads");
    fixed.D = b.instruction.integer("head_dim");
    fixed.w_stride = b.value(4).rows == 1 ? 0 : b.value(4).cols;
    fixed.eps = float(b.instruction.number("eps"));
    return [=](const Step& step, Team& team) {
        Wkv6Args args = fixed;
        args.spans = step.spans;
        args.span_count = step.span_count;
        kernel(args, team);
    };
}

Shape check_wkv7(const Program& p, const Instruction& i) {
    const int64_t columns = wkv_columns(i);
    for (size_t input = 0; input < 11; ++input)
        floats(p, i, input, kWkv7Names[input], input < 6 ? kTokens : 1, columns);
    require(present(i, 11) == present(i, 12), "v_first and m go together");
    if (present(i, 11)) floats(p, i, 11, "v_first", kTokens, columns);
    if (present(i, 12)) floats(p, i, 12, "m", kTokens, columns);
    return {kTokens, columns};
}

BoundOp bind_wkv7(const Binding& b) {
    auto* kernel = b.kernels.wkv7;
    Wkv7Args fixed{};
    const float** const fields[] = {
        &fixed.r,   &fixed.w,   &fixed.k,      &fixed.v,    &fixed.a,       &fixed.g, &fixed.k_k,
        &fixed.k_a, &fixed.r_k, &fixed.weight, &fixed.bias, &fixed.v_first, &fixed.m};
    for (int input = 0; input < 13; ++input) *fields[input] = b.floats(input);
    fixed.out = b.out();
    fixed.state = b.state;
    fixed.heads = b.instruction.integer("heads");
    fixed.D = b.instruction.integer("head_dim");
    fixed.eps = float(b.instruction.number("eps"));
    return [=](const Step& step, Team& team) {
        Wkv7Args args = fixed;
        args.spans = step.spans;
        args.span_count = step.span_count;
        kernel(args, team);
    };
}

}  // namespace

// name, in place, check, scratch, bind, state
const OpSpec kStateOps[] = {{"causal_conv1d", false, check_conv, nullptr, bind_conv, state_conv},
                            {"selective_scan", false, check_scan, nullptr, bind_scan, state_scan},
                            {"wkv4", false, check_wkv4, nullptr, bind_wkv4, state_wkv4},
                            {"wkv6", false, check_wkv6, nullptr, bind_wkv6, state_wkv},
                            {"wkv7", false, check_wkv7, nullptr, bind_wkv7, state_wkv},
                            {}};

}  // namespace genfast
