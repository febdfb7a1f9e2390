// Ops that work row by row, or number by number.
#include <algorithm>

#include "program/fuse.h"
#include "program/op_checks.h"

namespace genfast {
namespace {

// ---- norms
// ---------------------------------------------------------------------------------------
Shape check_norm(const Program& p, const Instruction& i) {
    const Value& x = floats(p, i, 0, "x");
    const int64_t groups = i.integer("groups", 0);  // 0: the whole row is one
    const Value& weight = floats(p, i, 1, "weight", 1, groups == 0 ? x.cols : 0);
    const int64_t first = i.integer("first", 0);
    require(groups >= 0 && (groups == 0 || weight.cols % groups == 0) && first >= 0 &&
                first + weight.cols <= x.cols,
            "weight has ", weight.cols, " columns, expected ", groups, " groups within x's ",
            x.cols, " from column ", first, " on");
    return {x.rows, x.cols};
}

Shape check_layer_norm(const Program& p, const Instruction& i) {
    Shape shape = check_norm(p, i);
    if (present(i, 2)) floats(p, i, 2, "bias", 1, floats(p, i, 1, "weight").cols);
    return shape;
}

Shape check_rms_norm(const Program& p, const Instruction& i) {
    auto [rows, cols] = check_norm(p, i);
    require(!present(i, 2) || i.integer("groups", 0) == 0, "groups go without a residual");
    if (present(i, 2)) floats(p, i, 2, "residual", rows, cols);
    return {rows, cols};
}

BoundOp bind_rms_norm(const Binding& b) {
    auto* kernel = b.kernels.rms_norm;
    int64_t rows = b.value(0).rows;
    RmsNormArgs fixed = rms_norm_args(b);
    return [=](const Step& step, Team& team) {
        RmsNormArgs args = fixed;
        args.T = row_count(rows, step);
        kernel(args, team);
    };
}

BoundOp bind_layer_norm(const Binding& b) {
    auto* kernel = b.kernels.layer_norm;
    int64_t rows = b.value(0).rows;
    const int64_t groups = std::max<int64_t>(1, b.instruction.integer("groups", 0));
    LayerNormArgs fixed{b.floats(0),
                        b.floats(1),
                        b.floats(2),
                        b.out(),
                        0,
                        b.value(1).cols / groups,
                        float(b.instruction.number("eps")),
                        groups,
                        b.value(0).cols,
                        b.instruction.integer("first"),
                        b.fusion ? b.fusion->rows_for : RowsFor{}};
    return [=](const Step& step, Team& team) {
        LayerNormArgs args = fixed;
        args.T = row_count(rows, step);
        kernel(args, team);
    };
}

// ---- element by element
// --------------------------------------------------------------------------
Shape check_activation(const Program& p, const Instruction& i) {
    activation_named(i.text("kind"));
    return same_as_input(p, i);
}

BoundOp bind_activation(const Binding& b) {
    auto* kernel = b.kernels.activation;
    int64_t rows = b.value(0).rows, cols = b.value(0).cols;
    ActivationArgs fixed{b.floats(0), b.out(), 0, activation_named(b.instruction.text("kind"))};
    return [=](const Step& step, Team& team) {
        ActivationArgs args = fixed;
        args.count = row_count(rows, step) * cols;
        kernel(args, team);
    };
}

Shape check_bound(const Program& p, const Instruction& i) {
    require(i.number("limit") > 0, "limit=", i.number("limit"), " must be positive");
    return same_as_input(p, i);
}

BoundOp bind_bound(const Binding& b) {
    auto* kernel = b.kernels.bound;
    int64_t rows = b.value(0).rows, cols = b.value(0).cols;
    BoundArgs fixed{b.floats(0), b.out(), 0, float(b.instruction.number("limit")),
                    b.instruction.integer("soft") != 0};
    return [=](const Step& step, Team& team) {
        BoundArgs args = fixed;
        args.count = row_count(rows, step) * cols;
        kernel(args, team);
    };
}

// x * y (+ residual)
Shape check_multiply(const Program& p, const Instruction& i) {
    auto [rows, cols] = same_as_input(p, i);
    const Value& y = floats(p, i, 1, "y");
    const int64_t first = i.integer("first", 0);
    require(y.rows == rows || y.rows == 1, "y has shape ", p.shape_text(i.inputs[1]),
            ", expected the rows of x, ", p.shape_text(i.inputs[0]), ", or one for all of them");
    require(first >= 0 && first <= y.cols - cols, "y has ", y.cols, " columns, expected ", cols,
            " from first=", first, " on");
    if (present(i, 2)) floats(p, i, 2, "residual", rows, cols);
    return {rows, cols};
}

BoundOp bind_multiply(const Binding& b) {
    auto* kernel = b.kernels.modulate;  // with a scale of its own for every row, or the same one
    const int64_t rows = b.value(0).rows, cols = b.value(0).cols;
    const Value& y = b.value(1);
    ModulateArgs fixed{};
    fixed.x = b.floats(0);
    fixed.scale = b.floats(1) + b.instruction.integer("first", 0);
    fixed.residual = b.floats(2);
    fixed.out = b.out();
    fixed.P = 1;
    fixed.C = cols;
    fixed.stride = y.rows == rows ? y.cols : 0;
    return [=](const Step& step, Team& team) {
        ModulateArgs args = fixed;
        args.N = row_count(rows, step);
        kernel(args, team);
    };
}

Shape check_swiglu(const Program& p, const Instruction& i) {
    const Value& x = floats(p, i, 0, "x");
    require(x.cols % 2 == 0, "x must hold gate and up side by side, found ", x.cols, " columns");
    activation_named(i.text("kind", "silu"));
    return {x.rows, x.cols / 2};
}

BoundOp bind_swiglu(const Binding& b) {
    auto* kernel = b.kernels.swiglu;
    int64_t rows = b.value(0).rows;
    SwigluArgs fixed{b.floats(0), b.out(), 0, b.value(0).cols / 2,
                     activation_named(b.instruction.text("kind", "silu"))};
    return [=](const Step& step, Team& team) {
        SwigluArgs args = fixed;
        args.T = row_count(rows, step);
        kernel(args, team);
    };
}

BoundOp bind_softmax(const Binding& b) {
    auto* kernel = b.kernels.softmax;
    int64_t rows = b.value(0).rows;
    SoftmaxArgs fixed{b.floats(0), b.out(), 0, b.value(0).cols, b.instruction.integer("log") != 0};
    return [=](const Step& step, Team& team) {
        SoftmaxArgs args = fixed;
        args.T = row_count(rows, step);
        kernel(args, team);
    };
}

}  // namespace

RmsNormArgs rms_norm_args(const Binding& b) {
    const int64_t groups = std::max<int64_t>(1, b.instruction.integer("groups", 0));
    return {b.floats(0),
            b.floats(1),
            b.out(),
            0,
            b.value(1).cols / groups,
            float(b.instruction.number("eps")),
            groups,
            b.value(0).cols,
            b.instruction.integer("first"),
            b.floats(2),
            b.fusion ? b.fusion->rows_for : RowsFor{}};
}

// name, in place, check, scratch, bind
const OpSpec kRowOps[] = {{"activation", true, check_activation, nullptr, bind_activation},
                          {"bound", true, check_bound, nullptr, bind_bound},
                          {"layer_norm", true, check_layer_norm, nullptr, bind_layer_norm},
                          {"multiply", true, check_multiply, nullptr, bind_multiply},
                          {"rms_norm", true, check_rms_norm, nullptr, bind_rms_norm},
                          {"softmax", true, same_as_input, nullptr, bind_softmax},
                          {"swiglu", false, check_swiglu, nullptr, bind_swiglu},
                          {}};

}  // namespace genfast
