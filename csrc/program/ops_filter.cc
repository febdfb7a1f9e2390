// Ops that look at each channel of an image by itself: filters and pooling.
#include "program/op_checks.h"

namespace genfast {
namespace {

// ---- depthwise_conv2d(x, w, bias?)
// ---------------------------------------------------------------
DepthwiseConv2dArgs depthwise_sizes(const Program& p, const Instruction& i) {
    const Value& x = fixed(p, i, 0, "x");
    DepthwiseConv2dArgs a{};
    a.H = i.integer("height");
    a.W = i.integer("width");
    a.N = image_count(x, i);
    a.C = x.cols;
    a.kernel_h = i.integer("kernel_h");
    a.kernel_w = i.integer("kernel_w");
    a.stride = i.integer("stride", 1);
    a.up = i.integer("up", 1);
    a.top = i.integer("top");
    a.left = i.integer("left");
    a.shared = floats(p, i, 1, "w").cols == 1 && a.C > 1;
    a.activation = activation_named(i.text("activation", "none"));
    const int64_t bottom = i.integer("bottom"), right = i.integer("right");
    check_padding(i);
    require(a.kernel_h > 0 && a.kernel_w > 0 && a.stride > 0, "a kernel of ", a.kernel_h, " x ",
            a.kernel_w, " and stride=", a.stride, " must be positive");
    require(a.up > 0 && a.up <= 1024, "up=", a.up, " must be 1 to 1024");
    const int64_t height = a.H * a.up + a.top + bottom, width = a.W * a.up + a.left + right;
    require(height >= a.kernel_h && width >= a.kernel_w, "a kernel of ", a.kernel_h, " x ",
            a.kernel_w, " does not fit an image of ", a.H, " x ", a.W);
    a.out_h = (height - a.kernel_h) / a.stride + 1;
    a.out_w = (width - a.kernel_w) / a.stride + 1;
    return a;
}

Shape check_depthwise_conv2d(const Program& p, const Instruction& i) {
    const DepthwiseConv2dArgs a = depthwise_sizes(p, i);
    floats(p, i, 1, "w", a.kernel_h * a.kernel_w, a.shared ? 1 : a.C);
    if (present(i, 2)) floats(p, i, 2, "bias", 1, a.C);
    return {a.N * a.out_h * a.out_w, a.C};
}

BoundOp bind_depthwise_conv2d(const Binding& b) {
    DepthwiseConv2dArgs a = depthwise_sizes(b.program, b.instruction);
    a.x = b.floats(0);
    a.w = b.floats(1);
    a.bias = b.floats(2);
    a.out = b.out();
    return bound_call(b.kernels.depthwise_conv2d, a);
}

// ---- max_pool2d(x)
// -------------------------------------------------------------------------------
MaxPool2dArgs max_pool2d_sizes(const Program& p, const Instruction& i) {
    const Value& x = fixed(p, i, 0, "x");
    MaxPool2dArgs a{};
    a.H = i.integer("height");
    a.W = i.integer("width");
    a.N = image_count(x, i);
    a.C = x.cols;
    a.size = i.integer("size");
    require(a.size > 0 && a.size <= a.H && a.size <= a.W, "size=", a.size,
            " must be 1 to the sides of an image of ", a.H, " x ", a.W);
    return a;
}

Shape check_max_pool2d(const Program& p, const Instruction& i) {
    const MaxPool2dArgs a = max_pool2d_sizes(p, i);
    return {a.N * (a.H / a.size) * (a.W / a.size), a.C};
}

BoundOp bind_max_pool2d(const Binding& b) {
    MaxPool2dArgs a = max_pool2d_sizes(b.program, b.instruction);
    a.x = b.floats(0);
    a.out = b.out();
    return bound_call(b.kernels.max_pool2d, a);
}

}  // namespace

// name, in place, check, scratch, bind
const OpSpec kFilterOps[] = {
    {"depthwise_conv2d", false, check_depthwise_conv2d, nullptr, bind_depthwise_conv2d},
    {"max_pool2d", false, check_max_pool2d, nullptr, bind_max_pool2d},
    {}};

}  // namespace genfast
