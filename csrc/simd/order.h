// Integers that sort as numbers do, and as numbers with their indices. A GPU's kernels share them.
#pragma once

#include "core/dtype.h"

namespace genfast {

// Integers in the order of the floats, and back.
GENFAST_ANYWHERE int32_t order_key(float value) {
    int32_t bits = int32_t(f32_to_bits(value));
    return bits ^ ((bits >> 31) & 0x7fffffff);
}
GENFAST_ANYWHERE float key_value(int32_t key) {
    return bits_to_f32(uint32_t(key ^ ((key >> 31) & 0x7fffffff)));
}

// A number that sorts as (value, then lower index first).
GENFAST_ANYWHERE uint64_t candidate(float value, int64_t index) {
    uint32_t key = uint32_t(order_key(value + 0.0f)) ^ 0x80000000u;  // -0 as 0
    return uint64_t(key) << 32 | (0xffffffffu - uint32_t(index));
}
GENFAST_ANYWHERE int32_t candidate_index(uint64_t c) {
    return int32_t(0xffffffffu - uint32_t(c));
}
GENFAST_ANYWHERE float candidate_value(uint64_t c) {
    return key_value(int32_t(uint32_t(c >> 32) ^ 0x80000000u));
}

}  // namespace genfast
