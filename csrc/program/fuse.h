// Instructions of a device's program that share launches, to the same bits:
//
//   rows that are computed are left as the products that read them want them
//   (kernels/matmul/rows_for.h);
//   norms and rotations of queries and keys are done by attention, as it appends them
//   (kernels/attention/head_turns.h).
//
// A value that anybody else reads stays what it is: another op, the other part of the program, a
// tap. GENFAST_CUDA_FUSE=0 (environment) leaves all values so.
#pragma once

#include <vector>

#include "kernels/cuda_library.h"
#include "program/ops.h"

namespace genfast {

// What one instruction does for others, or leaves to them.
struct Fusion {
    bool elsewhere = false;  // another instruction does its work
    // Of its output, in steps of at most so many rows.
    RowsFor rows_for = {};
    int64_t most_rows = 0;
    int64_t most_prepared = 0;                               // a matmul's x likewise
    const Instruction *rotation = nullptr, *norm = nullptr;  // that attention does
};

// By instruction.
std::vector<Fusion> fuse(const Program& program, const Limits& limits, const CudaLibrary& library);

}  // namespace genfast
