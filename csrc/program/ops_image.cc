// Ops of programs whose sizes are fixed: images, a pixel a row, and attention without a cache.
#include "program/op_checks.h"

namespace genfast {
namespace {

int64_t item_count(const Value& x, const Instruction& i, const char* what) {
    const int64_t items = i.integer("items");
    require(items > 0 && x.rows % items == 0, what, " has ", x.rows,
            " rows, no multiple of items=", items);
    return items;
}

// ---- what convolutions share: (x, w, bias?, residual?)
// -----------------------------------------------------------
Shape check_convolved(const Program& p, const Instruction& i, int64_t pixels, int64_t outputs) {
    if (present(i, 2)) floats(p, i, 2, "bias", 1, outputs);
    if (present(i, 3)) floats(p, i, 3, "residual", pixels, outputs);
    return {pixels, outputs};
}

template <class Args>
BoundOp bind_convolution(const Binding& b, Args a, void (*kernel)(const Args&, Team&)) {
    a.x = b.floats(0);
    a.bias = b.floats(2);
    a.residual = b.floats(3);
    a.out = b.out();
    a.scratch = b.scratch;
    return bound_call(kernel, a);
}

// ---- conv2d(x, w, bias?, residual?)
// --------------------------------------------------------------
Conv2dArgs conv2d_sizes(const Program& p, const Instruction& i) {
    const Value &x = fixed(p, i, 0, "x"), &w = matrix(p, i, 1, "w");
    Conv2dArgs a{};
    a.w = w.matrix->view();
    a.H = i.integer("height");
    a.W = i.integer("width");
    a.N = image_count(x, i);
    a.C = x.cols;
    a.kernel_h = i.integer("kernel_h");
    a.kernel_w = i.integer("kernel_w");
    a.stride = i.integer("stride", 1);
    a.top = i.integer("top");
    a.left = i.integer("left");
    check_padding(i);
    require(a.kernel_h > 0 && a.kernel_w > 0 && a.stride > 0, "a kernel of ", a.kernel_h, " x ",
            a.kernel_w, " and a stride of ", a.stride, " must be positive");
    a.out_h = (a.H + a.top + i.integer("bottom") - a.kernel_h) / a.stride + 1;
    a.out_w = (a.W + a.left + i.integer("right") - a.kernel_w) / a.stride + 1;
    require(a.H + a.top + i.integer("bottom") >= a.kernel_h &&
                a.W + a.left + i.integer("right") >= a.kernel_w,
            "a kernel of ", a.kernel_h, " x ", a.kernel_w, " does not fit an image of ", a.H, " x ",
            a.W);
    a.activation = activation_named(i.text("activation", "none"));
    return a;
}

Shape check_conv2d(const Program& p, const Instruction& i) {
    const Conv2dArgs a = conv2d_sizes(p, i);
    require(a.w.panels && !a.w.gated, "w must be packed, and not gated");
    require(a.w.K == a.kernel_h * a.kernel_w * a.C, "w ", p.shape_text(i.inputs[1]),
            " must have kernel_h * kernel_w * channels = ", a.kernel_h, " * ", a.kernel_w, " * ",
            a.C, " columns");
    return check_convolved(p, i, a.N * a.out_h * a.out_w, a.w.N);
}

size_t scratch_conv2d(const Program& p, const Instruction& i, const Kernels& kernels,
                      const Limits& limits, const std::vector<LayerCache>&) {
    return kernels.conv2d_scratch_bytes(conv2d_sizes(p, i), limits.threads);
}

BoundOp bind_conv2d(const Binding& b) {
    return bind_convolution(b, conv2d_sizes(b.program, b.instruction), b.kernels.conv2d);
}

// ---- winograd_conv2d(x, w, bias?, residual?)
// -----------------------------------------------------
WinogradConv2dArgs winograd_conv2d_sizes(const Program& p, const Instruction& i) {
    const Value &x = fixed(p, i, 0, "x"), &w = matrix(p, i, 1, "w");
    WinogradConv2dArgs a{};
    a.w = w.matrix->view();
    a.H = i.integer("height");
    a.W = i.integer("width");
    a.N = image_count(x, i);
    a.C = x.cols;
    a.O = i.integer("outputs");
    a.activation = activation_named(i.text("activation", "none"));
    return a;
}

Shape check_winograd_conv2d(const Program& p, const Instruction& i) {
    const WinogradConv2dArgs a = winograd_conv2d_sizes(p, i);
    require(a.w.panels && !a.w.gated, "w must be packed, and not gated");
    require(a.w.K == a.C, "w ", p.shape_text(i.inputs[1]), " must have channels = ", a.C,
            " columns");
    require(a.C % 16 == 0 && a.O > 0 && a.O % 16 == 0, a.C, " channels and outputs=", a.O,
            " must be multiples of 16");
    require(a.w.N == kWinogradPlaces * round_up(a.O, kPanelRows), "w ", p.shape_text(i.inputs[1]),
            " must have 16 * outputs rows, outputs=", a.O, " rounded up to a multiple of 32");
    return check_convolved(p, i, a.N * a.H * a.W, a.O);
}

size_t scratch_winograd_conv2d(const Program& p, const Instruction& i, const Kernels& kernels,
                               const Limits& limits, const std::vector<LayerCache>&) {
    return kernels.winograd_conv2d_scratch_bytes(winograd_conv2d_sizes(p, i), limits.threads);
}

BoundOp bind_winograd_conv2d(const Binding& b) {
    return bind_convolution(b, winograd_conv2d_sizes(b.program, b.instruction),
                            b.kernels.winograd_conv2d);
}

// ---- conv_transpose2d(x, w, bias?)
// ---------------------------------------------------------------
ConvTranspose2dArgs conv_transpose2d_sizes(const Program& p, const Instruction& i) {
    const Value &x = fixed(p, i, 0, "x"), &w = matrix(p, i, 1, "w");
    ConvTranspose2dArgs a{};
    a.w = w.matrix->view();
    a.H = i.integer("height");
    a.W = i.integer("width");
    a.N = image_count(x, i);
    a.kernel = i.integer("kernel");
    a.stride = i.integer("stride", 1);
    a.padding = i.integer("padding");
    a.activation = activation_named(i.text("activation", "none"));
    require(a.kernel > 0 && a.kernel <= 1024 && a.stride > 0 && a.stride <= 1024,
            "kernel=", a.kernel, " and stride=", a.stride, " must be 1 to 1024");
    require(a.padding >= 0 && a.padding <= kMostPadding, "padding=", a.padding, " must be 0 to ",
            kMostPadding);
    require(a.side(a.H) > 0 && a.side(a.W) > 0, "nothing remains of ", a.H, " x ", a.W);
    return a;
}

Shape check_conv_transpose2d(const Program& p, const Instruction& i) {
    const ConvTranspose2dArgs a = conv_transpose2d_sizes(p, i);
    const int64_t taps = a.kernel * a.kernel;
    require(a.w.panels && !a.w.gated && a.w.N % taps == 0 && a.w.K == floats(p, i, 0, "x").cols,
            "w ", p.shape_text(i.inputs[1]), " must be packed, with kernel² * outputs rows and ",
            floats(p, i, 0, "x").cols, " columns");
    if (present(i, 2)) floats(p, i, 2, "bias", 1, a.channels());
    return {a.N * a.side(a.H) * a.side(a.W), a.channels()};
}

size_t scratch_conv_transpose2d(const Program& p, const Instruction& i, const Kernels& kernels,
                                const Limits& limits, const std::vector<LayerCache>&) {
    return kernels.conv_transpose2d_scratch_bytes(conv_transpose2d_sizes(p, i), limits.threads);
}

BoundOp bind_conv_transpose2d(const Binding& b) {
    ConvTranspose2dArgs a = conv_transpose2d_sizes(b.program, b.instruction);
    a.x = b.floats(0);
    a.bias = b.floats(2);
    a.out = b.out();
    a.scratch = b.scratch;
    return bound_call(b.kernels.conv_transpose2d, a);
}

// ---- group_norm(x, weight?, bias?, shift?)
// -------------------------------------------------------
GroupNormArgs group_norm_sizes(const Program& p, const Instruction& i) {
    const Value& x = fixed(p, i, 0, "x");
    GroupNormArgs a{};
    a.N = item_count(x, i, "x");
    a.P = x.rows / a.N;
    a.C = x.cols;
    a.groups = i.integer("groups");
    a.eps = float(i.number("eps"));
    a.activation = activation_named(i.text("activation", "none"));
    require(a.groups > 0 && a.C % a.groups == 0, "groups=", a.groups, " do not divide x's ", a.C,
            " columns");
    return a;
}

Shape check_group_norm(const Program& p, const Instruction& i) {
    const GroupNormArgs a = group_norm_sizes(p, i);
    if (present(i, 1)) floats(p, i, 1, "weight", 1, a.C);
    if (present(i, 2)) floats(p, i, 2, "bias", 1, a.C);
    if (present(i, 3)) floats(p, i, 3, "shift", a.N, a.C);
    return same_as_input(p, i);
}

size_t scratch_group_norm(const Program& p, const Instruction& i, const Kernels& kernels,
                          const Limits& limits, const std::vector<LayerCache>&) {
    return kernels.group_norm_scratch_bytes(group_norm_sizes(p, i), limits.threads);
}

BoundOp bind_group_norm(const Binding& b) {
    GroupNormArgs a = group_norm_sizes(b.program, b.instruction);
    a.x = b.floats(0);
    a.weight = b.floats(1);
    a.bias = b.floats(2);
    a.shift = b.floats(3);
    a.out = b.out();
    a.scratch = b.scratch;
    return bound_call(b.kernels.group_norm, a);
}

// ---- full_attention(q, k, v, bias?, mask?)
// -------------------------------------------------------
FullAttentionArgs full_attention_sizes(const Program& p, const Instruction& i) {
    const Value &q = fixed(p, i, 0, "q"), &k = fixed(p, i, 1, "k");
    FullAttentionArgs a{};
    a.N = item_count(q, i, "q");
    item_count(k, i, "k");
    a.Tq = q.rows / a.N;
    a.Tk = k.rows / a.N;
    a.H = i.integer("heads");
    require(a.H > 0 && q.cols % a.H == 0, "heads=", a.H, " do not divide q's ", q.cols, " columns");
    a.D = q.cols / a.H;
    a.scale = float(i.number("scale"));
    a.causal = i.integer("causal") != 0;
    a.bfloat16 = i.integer("bfloat16") != 0;
    if (present(i, 3)) a.bias_per_head = floats(p, i, 3, "bias").rows == a.H * a.Tq;
    return a;
}

Shape check_full_attention(const Program& p, const Instruction& i) {
    const FullAttentionArgs a = full_attention_sizes(p, i);
    floats(p, i, 1, "k", 0, a.H * a.D);
    floats(p, i, 2, "v", a.N * a.Tk, a.H * a.D);
    if (present(i, 3)) floats(p, i, 3, "bias", a.bias_per_head ? a.H * a.Tq : a.Tq, a.Tk);
    if (present(i, 4)) floats(p, i, 4, "mask", a.N, a.Tk);
    return same_as_input(p, i);
}

size_t scratch_full_attention(const Program& p, const Instruction& i, const Kernels& kernels,
                              const Limits& limits, const std::vector<LayerCache>&) {
    return kernels.full_attention_scratch_bytes(full_attention_sizes(p, i), limits.threads);
}

BoundOp bind_full_attention(const Binding& b) {
    FullAttentionArgs a = full_attention_sizes(b.program, b.instruction);
    a.q = b.floats(0);
    a.k = b.floats(1);
    a.v = b.floats(2);
    a.bias = b.floats(3);
    a.mask = b.floats(4);
    a.out = b.out();
    a.scratch = b.scratch;
    return bound_call(b.kernels.full_attention, a);
}

// ---- modulate(x, conditions, residual?, noise?), add(x, y)
// ---------------------------------------
Shape check_modulate(const Program& p, const Instruction& i) {
    const Value &x = fixed(p, i, 0, "x"), &conditions = fixed(p, i, 1, "conditions");
    require(x.rows % conditions.rows == 0, "x has ", x.rows, " rows, no multiple of conditions' ",
            conditions.rows);
    for (const char* key : {"scale", "shift"}) {
        const int64_t first = i.integer(key, -1);
        require(first >= -1 && first <= conditions.cols - x.cols, key, "=", first, " and x's ",
                x.cols, " columns do not fit conditions' ", conditions.cols);
    }
    if (present(i, 2)) floats(p, i, 2, "residual", x.rows, x.cols);
    if (present(i, 3)) floats(p, i, 3, "noise", 1, x.rows / conditions.rows);
    activation_named(i.text("activation", "none"));
    return {x.rows, x.cols};
}

BoundOp bind_modulate(const Binding& b) {
    auto column = [&](const char* key) {
        const int64_t first = b.instruction.integer(key, -1);
        return first < 0 ? nullptr : b.floats(1) + first;
    };
    const Value &x = b.value(0), &conditions = b.value(1);
    const ModulateArgs a{b.floats(0),
                         column("scale"),
                         column("shift"),
                         b.floats(2),
                         b.out(),
                         conditions.rows,
                         x.rows / conditions.rows,
                         x.cols,
                         conditions.cols,
                         b.instruction.integer("plus_one") != 0,
                         b.floats(3),
                         activation_named(b.instruction.text("activation", "none"))};
    return bound_call(b.kernels.modulate, a);
}

Shape check_add(const Program& p, const Instruction& i) {
    const Value &x = fixed(p, i, 0, "x"), &y = floats(p, i, 1, "y", 0, x.cols);
    require(y.rows > 0 && x.rows % y.rows == 0, "x has ", x.rows, " rows, no multiple of y's ",
            y.rows);
    return {x.rows, x.cols};
}

BoundOp bind_add(const Binding& b) {
    const Value& x = b.value(0);
    return bound_call(b.kernels.add,
                      AddArgs{b.floats(0), b.floats(1), b.out(), x.rows, x.cols, b.value(1).rows});
}

}  // namespace

// name, in place, check, scratch, bind
const OpSpec kImageOps[] = {
    {"add", true, check_add, nullptr, bind_add},
    {"conv2d", false, check_conv2d, scratch_conv2d, bind_conv2d},
    {"conv_transpose2d", false, check_conv_transpose2d, scratch_conv_transpose2d,
     bind_conv_transpose2d},
    {"full_attention", false, check_full_attention, scratch_full_attention, bind_full_attention},
    {"group_norm", true, check_group_norm, scratch_group_norm, bind_group_norm},
    {"modulate", true, check_modulate, nullptr, bind_modulate},
    {"winograd_conv2d", false, check_winograd_conv2d, scratch_winograd_conv2d,
     bind_winograd_conv2d},
    {}};

}  // namespace genfast
