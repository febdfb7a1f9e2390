// probe: does nothing useful as fast as the machine can, to measure its ceilings
//   read      sums `bytes` of `data` (a multiple of 1024) into *result: bandwidth = bytes / time
//   fma_f32, dot_bf16, dot_int8: `rounds` passes over independent accumulator chains of the
//   instruction
//             that matmul uses; *operations gets the multiplications and additions of this thread
//   barrier   the team meets `rounds` times; *operations gets their number
// Every thread of the team works for itself on its own share (read) or on all rounds (the others).
#pragma once

#include <cstddef>
#include <cstdint>

namespace genfast {

enum class ProbeKind : uint8_t { read, fma_f32, dot_bf16, dot_int8, barrier };

struct ProbeArgs {
    ProbeKind kind;
    const std::byte* data;
    int64_t bytes;
    int64_t rounds;
    double* result;  // [threads]: keeps the work from being optimised away, and shows it was done
    double* operations;  // [threads]
};

}  // namespace genfast
