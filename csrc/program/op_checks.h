// What the checks of ops share: their operands, by what they must be.
#pragma once

#include <string>
#include <utility>

#include "core/error.h"
#include "program/ops.h"

namespace genfast {

using Shape = std::pair<int64_t, int64_t>;
constexpr int64_t kMostPadding = 1 << 16;

inline const Value& input(const Program& p, const Instruction& i, size_t index, const char* what) {
    require(index < i.inputs.size() && i.inputs[index] >= 0, "needs ", what);
    return p.values()[i.inputs[index]];
}

// A float value; `cols` and `rows` of 0 accept any.
inline const Value& floats(const Program& p, const Instruction& i, size_t index, const char* what,
                           int64_t rows = 0, int64_t cols = 0) {
    const Value& v = input(p, i, index, what);
    require(v.kind == Value::Kind::computed || v.kind == Value::Kind::constant ||
                v.kind == Value::Kind::input,
            what, " must be a float value, found ", v.name);
    require((!rows || v.rows == rows) && (!cols || v.cols == cols), what, " has shape ",
            p.shape_text(i.inputs[index]), ", expected [", rows == kTokens ? "T" : cat(rows), ", ",
            cols, "]");
    return v;
}

// A float value whose number of rows is known beforehand.
inline const Value& fixed(const Program& p, const Instruction& i, size_t index, const char* what) {
    const Value& v = floats(p, i, index, what);
    require(v.rows > 0, what, " must have a fixed number of rows, found ",
            p.shape_text(i.inputs[index]));
    return v;
}

// How many images of attributes height and width are in x.
inline int64_t image_count(const Value& x, const Instruction& i) {
    const int64_t height = i.integer("height"), width = i.integer("width");
    require(height > 0 && width > 0 && x.rows % (height * width) == 0, "height=", height,
            ", width=", width, " do not divide x's ", x.rows, " rows");
    return x.rows / (height * width);
}

// Beyond it the number of an image's pixels could overflow.
inline void check_padding(const Instruction& i) {
    for (const char* side : {"top", "left", "bottom", "right"}) {
        const int64_t padding = i.integer(side);
        require(padding >= 0 && padding <= kMostPadding, "padding ", side, "=", padding,
                " must be 0 to ", kMostPadding);
    }
}

template <class Args>
BoundOp bound_call(void (*kernel)(const Args&, Team&), const Args& args) {
    return [=](const Step&, Team& team) { kernel(args, team); };
}

inline const Value& matrix(const Program& p, const Instruction& i, size_t index, const char* what) {
    const Value& v = input(p, i, index, what);
    require(v.kind == Value::Kind::matrix, what, " must be a weight matrix, found ", v.name);
    return v;
}

inline bool present(const Instruction& i, size_t index) {
    return index < i.inputs.size() && i.inputs[index] >= 0;
}

inline Shape same_as_input(const Program& p, const Instruction& i) {
    const Value& x = floats(p, i, 0, "x");
    return {x.rows, x.cols};
}

// The most rows that a value can have in a step.
inline int64_t most_rows(int64_t rows, const Limits& limits) {
    return rows == kTokens ? limits.tokens : rows == kOutputs ? limits.outputs : rows;
}

}  // namespace genfast
