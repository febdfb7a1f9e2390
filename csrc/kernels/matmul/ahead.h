// Asking for int4 weights ahead, for few tokens: between the lines of a group lies more work than
// the hardware looks ahead over. With more tokens the work itself takes longer than memory.
#pragma once

#include "kernels/matmul/tiles.h"
#include "quant/int4.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kAheadBytes = 12 * int4::kGroupBytes;
constexpr int kFewTokens = 4;

// group: the one at hand; MT: tokens of the tile. Asks for what lies twelve groups on, into the
// second cache; beyond the end of a matrix nothing comes of it.
template <int MT>
GENFAST_INLINE void ask_ahead(const std::byte* group) {
    if constexpr (MT <= kFewTokens) {
        GENFAST_UNROLL
        for (int64_t at = 0; at < int4::kGroupBytes; at += 64)
            __builtin_prefetch(group + kAheadBytes + at, 0, 2);
    }
}

}  // namespace genfast::GENFAST_ISA
