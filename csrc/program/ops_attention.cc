// Attention and what turns queries and keys.
#include <memory>

#include "kernels/attention/head_turns.h"
#include "program/fuse.h"
#include "program/op_checks.h"

namespace genfast {
namespace {

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
    const Value& x = floats(p, i, 0, "x");
    const Value& table = floats(p, i, 1, "table", x.rows);  // of a step, or of fixed positions
    int64_t heads = i.integer("heads"), dim = i.integer("head_dim");
    require(heads > 0 && dim > 0 && heads * dim <= x.cols, "heads=", heads, " of head_dim=", dim,
            " do not fit x's ", x.cols, " columns");
    require(table.cols <= dim, "the table rotates ", table.cols, " of ", dim, " numbers");
    return {x.rows, x.cols};
}

BoundOp bind_rope(const Binding& b) {
    auto* kernel = b.kernels.rope;
    const int64_t rows = b.value(0).rows;
    RopeArgs fixed = rope_args(b);
    return [=](const Step& step, Team& team) {
        RopeArgs args = fixed;
        args.T = row_count(rows, step);
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
    require(i.number("cap") >= 0, "cap=", i.number("cap"), " must not be negative");
    if (present(i, 1)) floats(p, i, 1, "slopes", 1, heads);
    if (present(i, 2)) floats(p, i, 2, "sink_logits", 1, heads);
    require(i.number("scale") > 0, "scale=", i.number("scale"), " must be positive");
    return {kTokens, heads * dim};
}

size_t scratch_attention(const Program&, const Instruction& i, const Kernels& kernels,
                         const Limits& limits, const std::vector<LayerCache>& caches) {
    return kernels.attention_scratch_bytes(caches.at(i.integer("layer")).layout,
                                           int(i.integer("heads")), limits.tokens, limits.threads,
                                           limits.context, limits.sequences);
}

std::shared_ptr<HeadTurns> turns_of(const Binding& b) {
    if (!b.fusion || !b.fusion->rotation) return nullptr;
    auto turns = std::make_shared<HeadTurns>();
    turns->rope = rope_args(b.of(*b.fusion->rotation));
    turns->norm = b.fusion->norm ? rms_norm_args(b.of(*b.fusion->norm)) : RmsNormArgs{};
    return turns;
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
    fixed.cap = float(i.number("cap"));
    fixed.slopes = b.floats(1);
    fixed.sink_logits = b.floats(2);
    fixed.context = b.limits.context;
    const Fusion fusion = b.fusion ? *b.fusion : Fusion{};
    const std::shared_ptr<HeadTurns> turns = turns_of(b);
    fixed.turns = turns.get();
    return [=](const Step& step, Team& team) {
        AttentionArgs args = fixed;
        if (step.tokens <= fusion.most_rows) args.rows_for = fusion.rows_for;
        if (turns) turns->rope.T = turns->norm.T = step.tokens;
        args.spans = step.spans;
        args.span_count = step.span_count;
        args.T = step.tokens;
        kernel(args, team);
    };
}

}  // namespace

RopeArgs rope_args(const Binding& b) {
    const Instruction& i = b.instruction;
    return {b.floats(0),
            b.floats(1),
            b.out(),
            0,
            b.value(0).cols,
            i.integer("heads"),
            i.integer("head_dim"),
            b.value(1).cols,
            i.integer("interleaved") != 0};
}

// name, in place, check, scratch, bind
const OpSpec kAttentionOps[] = {
    {"attention", false, check_attention, scratch_attention, bind_attention},
    {"rope", true, check_rope, nullptr, bind_rope},
    {"rope_table", false, check_rope_table, nullptr, bind_rope_table},
    {}};

}  // namespace genfast
