// How long a step takes, learned from the steps that ran: what the scheduler needs to keep running
// requests fluent beside a long prompt, and to tell whether a deadline can be met.
//
// All work but attention depends on the number of rows alone, though not in proportion: up to some
// eight rows the weights' way from memory decides. So there is an average for every doubling, and
// straight lines between. Attention costs in proportion to the keys it visits (`attended`).
#pragma once

#include <array>
#include <cstdint>

namespace genfast {

// What a step computes.
struct StepSize {
    int64_t rows = 0;
    int64_t attended = 0;  // over sequences: keys read, times the rows' arithmetic (see add)

    // A sequence of this step: `rows` tokens after `start` others. Reading a key costs about what
    // four rows' arithmetic on it costs.
    void add(int64_t start, int64_t sequence_rows) {
        rows += sequence_rows;
        attended += keys_visited(start, sequence_rows);
    }
    // One that was added with so many rows gets more.
    void extend(int64_t start, int64_t from_rows, int64_t to_rows) {
        rows += to_rows - from_rows;
        attended += keys_visited(start, to_rows) - keys_visited(start, from_rows);
    }

  private:
    static int64_t keys_visited(int64_t start, int64_t sequence_rows) {
        int64_t keys = start + (sequence_rows + 1) / 2;
        return keys * (sequence_rows > 4 ? sequence_rows : 4) / 4;
    }
};

class CostModel {
  public:
    void record(StepSize step, double attention_seconds, double other_seconds);

    bool known() const { return known_; }
    double seconds(StepSize step) const;  // 0 before anything was recorded
    // The most rows of a sequence at `start` (up to `most`, at least 1) that fit beside `step`.
    int64_t rows_within(double limit, StepSize step, int64_t start, int64_t most) const;
    // A whole prompt from token `start` on, alone, `chunk` tokens a step.
    double prefill_seconds(int64_t start, int64_t tokens, int64_t chunk) const;

  private:
    struct Average {
        double rows = 0, seconds = 0, steps = 0;
        int64_t last = 0;  // the last step that was recorded here
    };
    double other_seconds(int64_t rows) const;

    std::array<Average, 24> by_doubling_{};
    double attended_ = 0, attention_seconds_ = 0;
    bool known_ = false;
    int64_t recorded_ = 0;  // steps
};

}  // namespace genfast
