// Ops between the ranks that compute one model together.
#include "program/op_checks.h"

namespace genfast {
namespace {

BoundOp bind_all_reduce(const Binding& b) {
    Communicator* ranks = b.communicator;
    require(ranks, "all_reduce: this program is a rank's part of a model, and runs with all ranks");
    const int64_t rows = b.value(0).rows, cols = b.value(0).cols;
    const float* from = b.floats(0);
    float* to = b.out();
    return [=](const Step& step, Team& team) {
        if (team.index == 0) ranks->all_reduce_sum(from, to, row_count(rows, step) * cols);
    };
}

}  // namespace

const OpSpec kRankOps[] = {
    {"all_reduce", true, same_as_input, nullptr, bind_all_reduce},
    {},
};

}  // namespace genfast
