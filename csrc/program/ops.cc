#include "program/ops.h"

#include <algorithm>
#include <iterator>

#include "core/error.h"

namespace genfast {
namespace {

using Shape = std::pair<int64_t, int64_t>;

const Value& input(const Program& p, const Instruction& i, size_t index, const char* what) {
    require(index < i.inputs.size() && i.inputs[index] >= 0, "needs ", what);
    return p.values()[i.inputs[index]];
}

// A float value; `cols` and `rows` of 0 accept any.
const Value& floats(const Program& p, const Instruction& i, size_t index, const char* what,
                    int64_t rows = 0, int64_t cols = 0) {
    const Value& v = input(p, i, index, what);
    require(v.kind == Value::Kind::computed || v.kind == Value::Kind::constant, what,
            " must be a float value, found ", v.name);
    require((!rows || v.rows == rows) && (!cols || v.cols == cols), what, " has shape ",
            p.shape_text(i.inputs[index]), ", expected [", rows == kTokens ? "T" : cat(rows), ", ",
            cols, "]");
    return v;
}

const Value& matrix(const Program& p, const Instruction& i, size_t index, const char* what) {
    const Value& v = input(p, i, index, what);
    require(v.kind == Value::Kind::matrix, what, " must be a weight matrix, found ", v.name);
    return v;
}

bool present(const Instruction& i, size_t index) {
    return index < i.inputs.size() && i.inputs[index] >= 0;
}

Shape same_as_input(const Program& p, const Instruction& i) {
    const Value& x = floats(p, i, 0, "x");
    return {x.rows, x.cols};
}

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
    const int64_t groups = std::max<int64_t>(1, b.instruction.integer("groups", 0));
    RmsNormArgs fixed{b.floats(0),
                      b.floats(1),
                      b.out(),
                      0,
                      b.value(1).cols / groups,
                      float(b.instruction.number("eps")),
                      groups,
                      b.value(0).cols,
                      b.instruction.integer("first"),
                      b.floats(2)};
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
                        b.instruction.integer("first")};
    return [=](const Step& step, Team& team) {
        LayerNormArgs args = fixed;
        args.T = row_count(rows, step);
        kernel(args, team);
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

int64_t most_rows(int64_t rows, const Limits& limits) {
    return rows == kTokens ? limits.tokens : rows == kOutputs ? limits.outputs : rows;
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
    return [=](const Step& step, Team& team) {
        MatmulArgs args = fixed;
        args.M = row_count(rows, step);
        kernel(args, team);
    };
}

// ---- rope_table(positions, inv_freq), rope(x, table)
// ---------------------------------------------
Shape check_rope_table(const Program& p, const Instruction& i) {
    require(input(p, i, 0, "positions").kind == Value::Kind::positions,
            "the first input must be positions");
    return {kTokens, 2 * floats(p, i, 1, "inv_freq", 1).cols};
}

BoundOp bind_rope_table(const Binding& b) {
    auto* kernel = b.kernels.rope_table;
    const Instruction& i = b.instruction;
    RopeTableArgs fixed{nullptr,
                        b.floats(1),
                        b.out(),
                        0,
                        2 * b.value(1).cols,
                        float(i.number("scale", 1)),
                        i.number("dynamic_base"),
                        i.number("dynamic_factor"),
                        i.integer("dynamic_length")};
    return [=](const Step& step, Team& team) {
        RopeTableArgs args = fixed;
        args.positions = step.positions;
        args.T = step.tokens;
        kernel(args, team);
    };
}

Shape check_rope(const Program& p, const Instruction& i) {
    const Value& x = floats(p, i, 0, "x", kTokens);
    const Value& table = floats(p, i, 1, "table", kTokens);
    int64_t heads = i.integer("heads"), dim = i.integer("head_dim");
    require(heads > 0 && dim > 0 && heads * dim <= x.cols, "heads=", heads, " of head_dim=", dim,
            " do not fit x's ", x.cols, " columns");
    require(table.cols <= dim, "the table rotates ", table.cols, " of ", dim, " numbers");
    return {x.rows, x.cols};
}

BoundOp bind_rope(const Binding& b) {
    auto* kernel = b.kernels.rope;
    const Instruction& i = b.instruction;
    RopeArgs fixed{b.floats(0),
                   b.floats(1),
                   b.out(),
                   0,
                   b.value(0).cols,
                   i.integer("heads"),
                   i.integer("head_dim"),
                   b.value(1).cols,
                   i.integer("interleaved") != 0};
    return [=](const Step& step, Team& team) {
        RopeArgs args = fixed;
        args.T = step.tokens;
        kernel(args, team);
    };
}

// ---- attention(qkv)
// ------------------------------------------------------------------------------
Shape check_attention(const Program& p, const Instruction& i) {
    const Value& qkv = floats(p, i, 0, "qkv", kTokens);
    int64_t heads = i.integer("heads"), kv = i.integer("kv_heads"), dim = i.integer("head_dim");
    require(heads > 0 && kv > 0 && dim > 0 && heads % kv == 0, "heads=", heads,
            " must be a multiple of kv_heads=", kv, ", head_dim=", dim, " positive");
    require(qkv.cols == (heads + 2 * kv) * dim, "qkv has ", qkv.cols, " columns, expected (", heads,
            " + 2*", kv, ") * ", dim, " = ", (heads + 2 * kv) * dim);
    require(i.integer("layer", -1) >= 0 && i.integer("window") >= 0,
            "layer and window must not be negative");
    check_sinks(i.integer("window"), i.integer("sinks"));
    // The kernels keep a head on the stack.
    require(dim <= 256, "head_dim=", dim, " must be at most 256");
    require(i.number("scale") > 0, "scale=", i.number("scale"), " must be positive");
    return {kTokens, heads * dim};
}

size_t scratch_attention(const Program&, const Instruction& i, const Kernels& kernels,
                         const Limits& limits, const std::vector<LayerCache>& caches) {
    return kernels.attention_scratch_bytes(caches.at(i.integer("layer")).layout,
                                           int(i.integer("heads")), limits.tokens, limits.threads,
                                           limits.context, limits.sequences);
}

BoundOp bind_attention(const Binding& b) {
    auto* kernel = b.kernels.attention;
    const Instruction& i = b.instruction;
    const LayerCache& cache = b.caches.at(i.integer("layer"));
    AttentionArgs fixed{};
    fixed.qkv = b.floats(0);
    fixed.out = b.out();
    fixed.cache = cache.data;
    fixed.layout = cache.layout;
    fixed.scratch = b.scratch;
    fixed.heads = int(i.integer("heads"));
    fixed.scale = float(i.number("scale"));
    fixed.window = i.integer("window");
    fixed.sinks = i.integer("sinks");
    return [=](const Step& step, Team& team) {
        AttentionArgs args = fixed;
        args.spans = step.spans;
        args.span_count = step.span_count;
        args.T = step.tokens;
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

// name, in place, check, scratch, bind
const OpSpec kOps[] = {
    {"activation", true, check_activation, nullptr, bind_activation},
    {"attention", false, check_attention, scratch_attention, bind_attention},
    {"bound", true, check_bound, nullptr, bind_bound},
    {"embed", false, check_embed, nullptr, bind_embed},
    {"layer_norm", true, check_layer_norm, nullptr, bind_layer_norm},
    {"matmul", false, check_matmul, scratch_matmul, bind_matmul},
    {"output_rows", false, check_output_rows, nullptr, bind_output_rows},
    {"rms_norm", true, check_rms_norm, nullptr, bind_rms_norm},
    {"rope", true, check_rope, nullptr, bind_rope},
    {"rope_table", false, check_rope_table, nullptr, bind_rope_table},
    {"softmax", true, same_as_input, nullptr, bind_softmax},
    {"swiglu", false, check_swiglu, nullptr, bind_swiglu},
};

}  // namespace

const float* Binding::floats(int input) const {
    if (!has(input)) return nullptr;
    const Value& v = value(input);
    return v.kind == Value::Kind::constant ? v.constant.data() : buffers[instruction.inputs[input]];
}

const OpSpec* find_op(const std::string& name) {
    std::string known;
    for (const OpSpec& op : kOps) {
        if (name == op.name) return &op;
        known += cat(known.empty() ? "" : ", ", op.name);
    }
    throw std::invalid_argument(cat("no op named '", name, "'; there are ", known));
}

Activation activation_named(const std::string& name) {
    if (name == "none") return Activation::none;
    if (name == "relu") return Activation::relu;
    if (name == "silu") return Activation::silu;
    if (name == "gelu") return Activation::gelu;
    if (name == "gelu_tanh") return Activation::gelu_tanh;
    throw std::invalid_argument(
        cat("activation=\"", name, "\" must be one of none, relu, silu, gelu, gelu_tanh"));
}

KvType kv_type_named(const std::string& name) {
    if (name == "float32") return KvType::f32;
    if (name == "bfloat16") return KvType::bf16;
    if (name == "int8") return KvType::int8;
    if (name == "int4") return KvType::int4;
    throw std::invalid_argument(
        cat("kv_dtype='", name, "' must be one of float32, bfloat16, int8, int4"));
}

void check_sinks(int64_t window, int64_t sinks) {
    require(sinks >= 0 && sinks <= kPageTokens, "sinks=", sinks, " must be 0 to ", kPageTokens);
    require(sinks == 0 || window > 0, "sinks=", sinks, " without a window: all is seen anyway");
}

}  // namespace genfast
