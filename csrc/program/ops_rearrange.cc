// Ops that move numbers and compute none: images enlarged, rows and columns cut out or joined.
#include "program/op_checks.h"

namespace genfast {
namespace {

// ---- upsample(x), pixel_shuffle(x)
// ---------------------------------------------------------------
int64_t check_factor(const Value& x, const Instruction& i) {
    const int64_t factor = i.integer("factor");
    image_count(x, i);
    require(factor > 0 && factor <= 1024, "factor=", factor, " must be 1 to 1024");
    return factor;
}

Shape check_upsample(const Program& p, const Instruction& i) {
    const Value& x = fixed(p, i, 0, "x");
    const int64_t factor = check_factor(x, i);
    return {x.rows * factor * factor, x.cols};
}

BoundOp bind_upsample(const Binding& b) {
    const Instruction& i = b.instruction;
    const int64_t height = i.integer("height"), width = i.integer("width");
    const UpsampleArgs args{b.floats(0), b.out(),         image_count(b.value(0), i), height,
                            width,       b.value(0).cols, i.integer("factor")};
    return bound_call(b.kernels.upsample, args);
}

Shape check_pixel_shuffle(const Program& p, const Instruction& i) {
    const Value& x = fixed(p, i, 0, "x");
    const int64_t factor = check_factor(x, i), square = factor * factor;
    require(x.cols % square == 0, "x has ", x.cols, " columns, no multiple of factor² = ", square);
    return {x.rows * square, x.cols / square};
}

BoundOp bind_pixel_shuffle(const Binding& b) {
    const Instruction& i = b.instruction;
    const int64_t height = i.integer("height"), width = i.integer("width");
    const int64_t factor = i.integer("factor");
    const PixelShuffleArgs args{b.floats(0),
                                b.out(),
                                image_count(b.value(0), i),
                                height,
                                width,
                                b.value(0).cols / (factor * factor),
                                factor,
                                i.integer("channels_last") != 0};
    return bound_call(b.kernels.pixel_shuffle, args);
}

// ---- slice(x): rows and columns of each item
// -----------------------------------------------------
Shape check_slice(const Program& p, const Instruction& i) {
    const Value& x = fixed(p, i, 0, "x");
    const int64_t items = i.integer("items", 1), rows = i.integer("rows");
    require(items > 0 && x.rows % items == 0, "x has ", x.rows,
            " rows, no multiple of items=", items);
    const int64_t first_row = i.integer("first_row"), first = i.integer("first");
    const int64_t columns = i.integer("columns"), all = x.rows / items;
    require(first_row >= 0 && rows >= 0 && first_row + rows <= all && first >= 0 && columns > 0 &&
                first + columns <= x.cols,
            "rows [", first_row, ", ", first_row + rows, ") and columns [", first, ", ",
            first + columns, ") do not lie within an item of x, [", all, ", ", x.cols, "]");
    return {items * (rows ? rows : all - first_row), columns};
}

BoundOp bind_slice(const Binding& b) {
    const Instruction& i = b.instruction;
    const Value& x = b.value(0);
    const int64_t items = i.integer("items", 1), columns = i.integer("columns");
    const int64_t all = x.rows / items, first_row = i.integer("first_row");
    const int64_t rows = i.integer("rows") ? i.integer("rows") : all - first_row;
    const PlaceArgs args{b.floats(0) + first_row * x.cols + i.integer("first"),
                         b.out(),
                         items,
                         rows,
                         columns,
                         all * x.cols,
                         x.cols,
                         rows * columns,
                         columns};
    return bound_call(b.kernels.place, args);
}

// ---- concat(x, y): columns, or the rows of each item
// -------------------------------------------
Shape check_concat(const Program& p, const Instruction& i) {
    const int64_t items = i.integer("items");
    if (items == 0) {
        const Value &x = floats(p, i, 0, "x"), &y = floats(p, i, 1, "y");
        require(x.rows == y.rows, "x has ", x.rows, " rows, y ", y.rows);
        return {x.rows, x.cols + y.cols};
    }
    const Value &x = fixed(p, i, 0, "x"), &y = fixed(p, i, 1, "y");
    require(x.cols == y.cols, "x has ", x.cols, " columns, y ", y.cols);
    require(items > 0 && x.rows % items == 0 && y.rows % items == 0, "items=", items,
            " do not divide x's ", x.rows, " rows and y's ", y.rows);
    return {x.rows + y.rows, x.cols};
}

BoundOp bind_concat(const Binding& b) {
    auto* kernel = b.kernels.place;
    const Value &x = b.value(0), &y = b.value(1);
    const int64_t items = b.instruction.integer("items");
    if (items == 0) {
        const int64_t row = x.cols + y.cols, rows = x.rows;
        PlaceArgs first{b.floats(0), b.out(), 1, 0, x.cols, 0, x.cols, 0, row};
        PlaceArgs second{b.floats(1), b.out() + x.cols, 1, 0, y.cols, 0, y.cols, 0, row};
        return [=](const Step& step, Team& team) {
            PlaceArgs left = first, right = second;
            left.rows = right.rows = row_count(rows, step);
            kernel(left, team);
            kernel(right, team);
        };
    }
    const int64_t mine = x.rows / items * x.cols, others = y.rows / items * x.cols;
    const PlaceArgs first{b.floats(0), b.out(), items, 1, mine, mine, 0, mine + others, 0};
    const PlaceArgs second{b.floats(1), b.out() + mine, items, 1, others, others,
                           0,           mine + others,  0};
    return [=](const Step&, Team& team) {
        kernel(first, team);
        kernel(second, team);
    };
}

}  // namespace

// name, in place, check, scratch, bind
const OpSpec kRearrangeOps[] = {
    {"concat", false, check_concat, nullptr, bind_concat},
    {"pixel_shuffle", false, check_pixel_shuffle, nullptr, bind_pixel_shuffle},
    {"slice", false, check_slice, nullptr, bind_slice},
    {"upsample", false, check_upsample, nullptr, bind_upsample},
    {}};

}  // namespace genfast
