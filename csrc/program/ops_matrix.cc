// Ops that read weights: embeddings, matmul, experts.
#include <algorithm>

#include "program/fuse.h"
#include "program/op_checks.h"

namespace genfast {
namespace {

// ---- embed(ids, table, residual?)
// ----------------------------------------------------------------
Shape check_embed(const Program& p, const Instruction& i) {
    const Value& ids = input(p, i, 0, "ids");
    require(ids.kind == Value::Kind::token_ids || ids.kind == Value::Kind::positions,
            "ids must be token_ids or positions, found ", ids.name);
    const Value& table = matrix(p, i, 1, "table");
    if (present(i, 2)) floats(p, i, 2, "residual", kTokens, table.cols);
    return {kTokens, table.cols};
}

BoundOp bind_embed(const Binding& b) {
    auto* kernel = b.kernels.embed;
    bool positions = b.value(0).kind == Value::Kind::positions;
    EmbedArgs fixed{nullptr, b.matrix(1), b.floats(2),
                    b.out(), 0,           float(b.instruction.number("scale", 1))};
    return [=](const Step& step, Team& team) {
        EmbedArgs args = fixed;
        args.ids = positions ? step.positions : step.token_ids;
        args.T = step.tokens;
        kernel(args, team);
    };
}

// ---- output_rows(x): the rows whose output is wanted
// ---------------------------------------------
Shape check_output_rows(const Program& p, const Instruction& i) {
    return {kOutputs, floats(p, i, 0, "x", kTokens).cols};
}

BoundOp bind_output_rows(const Binding& b) {
    auto* kernel = b.kernels.embed;  // a gather of rows is an embedding lookup in x
    Matrix rows{Format::f32, false,           false,
                0,           b.value(0).cols, reinterpret_cast<const std::byte*>(b.floats(0))};
    float* out = b.out();
    return [=](const Step& step, Team& team) {
        Matrix table = rows;
        table.N = step.tokens;
        kernel({step.output_rows, table, nullptr, out, step.outputs, 1}, team);
    };
}

// ---- matmul(x, w, bias?, residual?)
// --------------------------------------------------------------
Shape check_matmul(const Program& p, const Instruction& i) {
    const Value& x = floats(p, i, 0, "x");
    const Value& w = matrix(p, i, 1, "w");
    require(w.matrix->view().panels, "w must be packed; a row-major table only serves embed");
    require(x.cols == w.cols, "x has ", x.cols, " columns, w ", p.shape_text(i.inputs[1]));
    const int64_t columns = outputs(w.matrix->view());
    if (present(i, 2)) floats(p, i, 2, "bias", 1, w.rows);
    if (present(i, 3)) floats(p, i, 3, "residual", x.rows, columns);
    activation_named(i.text("activation", "none"));
    return {x.rows, columns};
}

size_t scratch_matmul(const Program& p, const Instruction& i, const Kernels& kernels,
                      const Limits& limits, const std::vector<LayerCache>&) {
    int64_t rows = most_rows(p.values()[i.inputs[0]].rows, limits);
    return kernels.matmul_scratch_bytes(p.values()[i.inputs[1]].matrix->view(), rows,
                                        limits.threads);
}

BoundOp bind_matmul(const Binding& b) {
    auto* kernel = b.kernels.matmul;
    int64_t rows = b.value(0).rows;
    MatmulArgs fixed{b.floats(0), b.matrix(1),
                     b.floats(2), b.floats(3),
                     b.out(),     b.scratch,
                     0,           activation_named(b.instruction.text("activation", "none"))};
    const Fusion fusion = b.fusion ? *b.fusion : Fusion{};
    return [=](const Step& step, Team& team) {
        MatmulArgs args = fixed;
        args.M = row_count(rows, step);
        args.prepared = args.M <= fusion.most_prepared;
        if (args.M <= fusion.most_rows) args.rows_for = fusion.rows_for;
        kernel(args, team);
    };
}

// ---- route(logits, bias?): the experts of each token
// ---------------------------------------------------------------------------------------
Shape check_route(const Program& p, const Instruction& i) {
    const int64_t experts = floats(p, i, 0, "logits", kTokens).cols;
    const int64_t k = i.integer("k"), groups = i.integer("groups", 1);
    const int64_t kept = i.integer("kept_groups", 1);
    if (present(i, 1)) floats(p, i, 1, "bias", 1, experts);
    check_route_sizes(experts, k, groups, kept);
    scoring_named(i.text("scoring"));
    return {kTokens, 2 * k};
}

BoundOp bind_route(const Binding& b) {
    auto* kernel = b.kernels.route;
    const Instruction& i = b.instruction;
    RouteArgs fixed{b.floats(0),
                    b.floats(1),
                    b.out(),
                    0,
                    b.value(0).cols,
                    i.integer("k"),
                    i.integer("groups", 1),
                    i.integer("kept_groups", 1),
                    float(i.number("scale", 1)),
                    scoring_named(i.text("scoring")),
                    i.integer("renormalise") != 0};
    return [=](const Step& step, Team& team) {
        RouteArgs args = fixed;
        args.T = step.tokens;
        kernel(args, team);
    };
}

// ---- moe(x, routes, residual?, up_bias?, down_bias?, then each expert's gate and up, and its
// down)
// ----------------------------------------------------------------------------
constexpr size_t kFirstExpert = 5;

Shape check_moe(const Program& p, const Instruction& i) {
    const Value& x = floats(p, i, 0, "x", kTokens);
    const Value& routes = floats(p, i, 1, "routes", kTokens);
    if (present(i, 2)) floats(p, i, 2, "residual", kTokens, x.cols);
    require(routes.cols % 2 == 0, "routes must come from route");
    const size_t count = i.inputs.size() - kFirstExpert;
    require(i.inputs.size() > kFirstExpert && count % 2 == 0, "moe needs two matrices an expert");
    const Value& up = matrix(p, i, kFirstExpert, "gate and up");
    for (size_t n = 0; n < count; n += 2) {
        const Value& mine = matrix(p, i, kFirstExpert + n, "gate and up");
        const Value& down = matrix(p, i, kFirstExpert + n + 1, "down");
        require(mine.rows == up.rows && mine.cols == x.cols && mine.matrix->view().gated,
                "gate and up of expert ", n / 2, " have shape ",
                p.shape_text(i.inputs[kFirstExpert + n]), ", expected a gated matrix of ", x.cols,
                " columns like the first's");
        require(down.rows == x.cols && down.cols == outputs(mine.matrix->view()), "down of expert ",
                n / 2, " has shape ", p.shape_text(i.inputs[kFirstExpert + n + 1]), ", expected [",
                x.cols, ", ", outputs(mine.matrix->view()), "]");
    }
    const int64_t experts = int64_t(count / 2);
    if (present(i, 3)) floats(p, i, 3, "up_bias", 1, experts * up.rows);
    if (present(i, 4)) floats(p, i, 4, "down_bias", 1, experts * x.cols);
    activation_named(i.text("activation"));
    return {kTokens, x.cols};
}

MoeArgs moe_args(const Program& p, const Instruction& i, std::vector<Matrix>& matrices) {
    for (size_t n = kFirstExpert; n < i.inputs.size(); ++n)
        matrices.push_back(p.values()[i.inputs[n]].matrix->view());
    MoeArgs args{};
    args.matrices = matrices.data();
    args.experts = int64_t(matrices.size() / 2);
    args.k = p.values()[i.inputs[1]].cols / 2;
    return args;
}

size_t scratch_moe(const Program& p, const Instruction& i, const Kernels& kernels,
                   const Limits& limits, const std::vector<LayerCache>&) {
    std::vector<Matrix> matrices;
    MoeArgs args = moe_args(p, i, matrices);
    args.T = limits.tokens;
    return kernels.moe_scratch_bytes(args, limits.threads);
}

BoundOp bind_moe(const Binding& b) {
    auto* kernel = b.kernels.moe;
    auto matrices = std::make_shared<std::vector<Matrix>>();
    MoeArgs fixed = moe_args(b.program, b.instruction, *matrices);
    fixed.x = b.floats(0);
    fixed.routes = b.floats(1);
    fixed.residual = b.floats(2);
    fixed.up_bias = b.floats(3);
    fixed.down_bias = b.floats(4);
    fixed.on_device = b.on_device ? b.on_device + kFirstExpert : nullptr;
    fixed.out = b.out();
    fixed.scratch = b.scratch;
    fixed.activation = activation_named(b.instruction.text("activation"));
    return [=](const Step& step, Team& team) {
        MoeArgs args = fixed;
        args.matrices = matrices->data();
        args.T = step.tokens;
        kernel(args, team);
    };
}

}  // namespace

// name, in place, check, scratch, bind
const OpSpec kMatrixOps[] = {{"embed", false, check_embed, nullptr, bind_embed},
                             {"matmul", false, check_matmul, scratch_matmul, bind_matmul},
                             {"moe", false, check_moe, scratch_moe, bind_moe},
                             {"output_rows", false, check_output_rows, nullptr, bind_output_rows},
                             {"route", false, check_route, nullptr, bind_route},
                             {}};

}  // namespace genfast
