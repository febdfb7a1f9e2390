// Latent attention and what stands before and after it: a matrix of its own for every head.
#include <algorithm>
#include <memory>

#include "program/op_checks.h"

namespace genfast {
namespace {

// ---- head_matmul(x, then a matrix for every head)
// ------------------------------------------------------------------------------
constexpr size_t kFirstHead = 1;

Shape check_head_matmul(const Program& p, const Instruction& i) {
    const Value& x = floats(p, i, 0, "x");
    const int64_t heads = int64_t(i.inputs.size() - kFirstHead), first = i.integer("first");
    require(heads > 0, "head_matmul needs a matrix for every head");
    const Value& w = matrix(p, i, kFirstHead, "w");
    for (size_t n = kFirstHead; n < i.inputs.size(); ++n) {
        const Value& mine = matrix(p, i, n, "w");
        const Matrix view = mine.matrix->view();
        require(mine.rows == w.rows && mine.cols == w.cols && view.panels && !view.gated &&
                    view.format == w.matrix->view().format,
                "the matrix of head ", n - kFirstHead, " has shape ", p.shape_text(i.inputs[n]),
                ", expected the first's, ", p.shape_text(i.inputs[kFirstHead]),
                ", packed in the same format");
    }
    require(first >= 0 && first + heads * w.cols <= x.cols, heads, " heads of ", w.cols,
            " from column ", first, " do not fit x's ", x.cols, " columns");
    return {x.rows, heads * w.rows};
}

size_t scratch_head_matmul(const Program& p, const Instruction& i, const Kernels& kernels,
                           const Limits& limits, const std::vector<LayerCache>&) {
    return kernels.head_matmul_scratch_bytes(p.values()[i.inputs[kFirstHead]].matrix->view(),
                                             most_rows(p.values()[i.inputs[0]].rows, limits),
                                             limits.threads);
}

BoundOp bind_head_matmul(const Binding& b) {
    auto* kernel = b.kernels.head_matmul;
    auto matrices = std::make_shared<std::vector<Matrix>>();
    for (size_t n = kFirstHead; n < b.instruction.inputs.size(); ++n)
        matrices->push_back(b.matrix(int(n)));
    const int64_t rows = b.value(0).rows;
    HeadMatmulArgs fixed{b.floats(0),
                         nullptr,
                         b.out(),
                         b.scratch,
                         0,
                         int64_t(matrices->size()),
                         b.value(0).cols,
                         b.instruction.integer("first"),
                         b.on_device ? b.on_device + kFirstHead : nullptr};
    return [=](const Step& step, Team& team) {
        HeadMatmulArgs args = fixed;
        args.matrices = matrices->data();
        args.T = row_count(rows, step);
        kernel(args, team);
    };
}

// ---- latent_attention(q, turned, rows)
// ------------------------------------------------------------------------------
Shape check_latent_attention(const Program& p, const Instruction& i) {
    const int64_t heads = i.integer("heads"), R = i.integer("latent"), P = i.integer("rotated");
    require(heads > 0 && R > 0 && P > 0 && R + P <= kMaxLatentDim, "heads=", heads, ", latent=", R,
            ", rotated=", P, " must be positive, and the last two together at most ",
            kMaxLatentDim);
    floats(p, i, 0, "q", kTokens, heads * R);
    const Value& turned = floats(p, i, 1, "turned", kTokens);
    require(turned.cols >= heads * P, "turned has ", turned.cols, " columns, expected at least ",
            heads, " * ", P);
    floats(p, i, 2, "rows", kTokens, P + R);
    require(i.integer("layer", -1) >= 0 && i.integer("window") >= 0,
            "layer and window must not be negative");
    check_sinks(i.integer("window"), i.integer("sinks"));
    require(i.number("scale") > 0, "scale=", i.number("scale"), " must be positive");
    return {kTokens, heads * R};
}

size_t scratch_latent_attention(const Program&, const Instruction& i, const Kernels& kernels,
                                const Limits& limits, const std::vector<LayerCache>& caches) {
    LatentArgs sizes{};
    sizes.layout = caches.at(i.integer("layer")).layout;
    sizes.heads = int(i.integer("heads"));
    sizes.T = limits.tokens;
    return kernels.latent_attention_scratch_bytes(sizes, limits.threads, limits.context);
}

BoundOp bind_latent_attention(const Binding& b) {
    auto* kernel = b.kernels.latent_attention;
    const Instruction& i = b.instruction;
    const LayerCache& cache = b.caches.at(i.integer("layer"));
    require(cache.layout.latent == i.integer("latent"), "layer ", i.integer("layer"),
            " of the cache is not laid out for latent attention");
    LatentArgs fixed{};
    fixed.q = b.floats(0);
    fixed.turned = b.floats(1);
    fixed.rows = b.floats(2);
    fixed.out = b.out();
    fixed.cache = cache.data;
    fixed.layout = cache.layout;
    fixed.scratch = b.scratch;
    fixed.columns = b.value(1).cols;
    fixed.heads = int(i.integer("heads"));
    fixed.scale = float(i.number("scale"));
    fixed.window = i.integer("window");
    fixed.sinks = i.integer("sinks");
    fixed.context = b.limits.context;
    return [=](const Step& step, Team& team) {
        LatentArgs args = fixed;
        args.spans = step.spans;
        args.span_count = step.span_count;
        args.T = step.tokens;
        kernel(args, team);
    };
}

}  // namespace

// name, in place, check, scratch, bind
const OpSpec kLatentOps[] = {
    {"head_matmul", false, check_head_matmul, scratch_head_matmul, bind_head_matmul},
    {"latent_attention", false, check_latent_attention, scratch_latent_attention,
     bind_latent_attention},
    {}};

// Throws unless the layer's numbers fit and the type is one that latent attention reads.
KvLayout latent_layout(KvType type, int64_t latent, int64_t rotated) {
    require(type != KvType::int4,
            "kv_dtype='int4' is not there for latent attention; it keeps so few numbers a token "
            "that int8, bfloat16 or float32 are small too");
    require(latent > 0 && rotated > 0 && latent + rotated <= kMaxLatentDim, "latent=", latent,
            " and rotated=", rotated, " must be positive and together at most ", kMaxLatentDim);
    return {type, 1, int(latent + rotated), int(latent)};
}

}  // namespace genfast
