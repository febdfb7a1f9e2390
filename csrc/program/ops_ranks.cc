// Ops between the ranks that compute one model together.
#include "program/op_checks.h"

namespace genfast {
namespace {

Communicator* ranks_of(const Binding& b) {
    require(b.communicator, b.instruction.op->name,
            ": this program is a rank's part of a model, and runs with all ranks");
    return b.communicator;
}

BoundOp bind_all_reduce(const Binding& b) {
    Communicator* ranks = ranks_of(b);
    const int64_t rows = b.value(0).rows, cols = b.value(0).cols;
    const float* from = b.floats(0);
    float* to = b.out();
    return [=](const Step& step, Team& team) {
        if (team.index == 0) ranks->all_reduce_sum(from, to, row_count(rows, step) * cols);
    };
}

Shape check_all_gather(const Program& p, const Instruction& i) {
    const Value& x = floats(p, i, 0, "x");
    const int64_t ranks = i.integer("ranks");
    require(ranks > 0, "ranks=", ranks, " must be above 0");
    return {x.rows, ranks * x.cols};
}

// Row by row, so that the ranks' columns lie side by side.
BoundOp bind_all_gather(const Binding& b) {
    Communicator* ranks = ranks_of(b);
    require(ranks->size() == b.instruction.integer("ranks"), "recorded for ",
            b.instruction.integer("ranks"), " ranks, there are ", ranks->size());
    const int64_t rows = b.value(0).rows, cols = b.value(0).cols;
    const float* from = b.floats(0);
    float* to = b.out();
    return [=](const Step& step, Team& team) {
        if (team.index > 0) return;
        for (int64_t row = 0; row < row_count(rows, step); ++row)
            ranks->all_gather(from + row * cols, to + row * ranks->size() * cols, cols);
    };
}

}  // namespace

const OpSpec kRankOps[] = {
    {"all_gather", false, check_all_gather, nullptr, bind_all_gather},
    {"all_reduce", true, same_as_input, nullptr, bind_all_reduce},
    {},
};

}  // namespace genfast
