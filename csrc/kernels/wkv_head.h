// What wkv6 and wkv7 share: heads whose state is a matrix.
#pragma once

#include "kernels/sequence_span.h"

namespace genfast {

constexpr int64_t kMaxWkvHead = 256, kWkvLanes = 16;

// Floats of a sequence's state, [H, ceil(D / 16), D, 16]: of sixteen values, which are computed
// together, what all D keys hold.
GENFAST_ANYWHERE int64_t wkv_state_floats(int64_t heads, int64_t D) {
    return heads * ((D + kWkvLanes - 1) / kWkvLanes) * D * kWkvLanes;
}

}  // namespace genfast
