// For ops with recurrent state: rows of several sequences side by side, and a slot of state each.
#pragma once

#include "bindings/bindings.h"

namespace genfast {

class Sequences {
  public:
    // lengths: rows of each of `rows`; none: they are one sequence's. state [sequences, floats] is
    // what the call before gave; none: all begin.
    Sequences(const std::optional<std::vector<int64_t>>& lengths, int64_t rows, int64_t floats,
              const std::optional<FloatArray>& state)
        : floats_(floats) {
        int64_t row = 0;
        for (int64_t length : lengths.value_or(std::vector<int64_t>{rows})) {
            require(length >= 1, "lengths must be positive, found ", length);
            const int32_t slot = int32_t(spans_.size());
            spans_.push_back({row, length, 0, nullptr, state ? slot : -1, slot});
            row += length;
        }
        require(row == rows, "lengths add up to ", row, ", x has ", rows, " rows");
        const int64_t count = int64_t(spans_.size());
        after_ = FloatArray({count, floats});
        std::fill_n(after_.mutable_data(), count * floats, 0.0f);  // what pads a state too
        if (!state) return;
        require(state->ndim() == 2 && state->shape(0) == count && state->shape(1) == floats,
                "state must have shape [", count, ", ", floats, "]");
        std::copy_n(state->data(), count * floats, after_.mutable_data());
    }

    const SequenceSpan* spans() const { return spans_.data(); }
    int64_t count() const { return int64_t(spans_.size()); }
    StateSlots slots() { return {after_.mutable_data(), floats_}; }
    const FloatArray& after() const { return after_; }  // the state, once the kernel ran

  private:
    int64_t floats_;
    std::vector<SequenceSpan> spans_;
    FloatArray after_;
};

}  // namespace genfast
