// The rows of a step that belong to one sequence, and where the cache holds what came before them.
#pragma once

#include <cstdint>

#include "core/anywhere.h"

namespace genfast {

struct SequenceSpan {
    int64_t row;             // first row of the sequence in this step
    int64_t rows;            // tokens of it in this step
    int64_t start;           // its tokens already in the cache
    const int32_t* pages;    // ceil((start + rows) / 32) page numbers
    int32_t state_in = -1;   // slot of the state after `start` tokens; -1: zeros
    int32_t state_out = -1;  // slot that gets the state after all rows; may be state_in
};

// What one instruction keeps of every sequence, a slot each: its own numbers of a slot begin at
// data + slot * stride.
struct StateSlots {
    float* data = nullptr;
    int64_t stride = 0;

    // Null: zeros.
    GENFAST_MEMBER_ANYWHERE const float* before(const SequenceSpan& span) const {
        return span.state_in < 0 ? nullptr : data + span.state_in * stride;
    }
    GENFAST_MEMBER_ANYWHERE float* after(const SequenceSpan& span) const {
        return data + span.state_out * stride;
    }
};

}  // namespace genfast
