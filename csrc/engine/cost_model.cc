#include "engine/cost_model.h"

#include <algorithm>
#include <bit>

namespace genfast {
namespace {

constexpr double kForget = 0.1, kForgetAtOnce = 0.5;  // the weight of the newest step
constexpr double kFlatRows = 8;  // where nothing is known: cost is flat so far, then proportional

}  // namespace

void CostModel::record(StepSize step, double attention_seconds, double other_seconds) {
    if (step.rows <= 0) return;
    known_ = true;
    size_t bucket =
        std::min(by_doubling_.size() - 1, size_t(std::bit_width(uint64_t(step.rows))) - 1);
    Average& average = by_doubling_[bucket];
    average.steps += 1;
    // Where steps of a size are rare, older ones tell less of the machine as it is now.
    double rare = std::min(kForgetAtOnce, kForget * double(++recorded_ - average.last));
    double weight = std::max(rare, 1 / average.steps);
    average.last = recorded_;
    average.rows += weight * (double(step.rows) - average.rows);
    average.seconds += weight * (other_seconds - average.seconds);
    attended_ += kForget * (double(step.attended) - attended_);
    attention_seconds_ += kForget * (attention_seconds - attention_seconds_);
}

double CostModel::other_seconds(int64_t rows) const {
    const Average *below = nullptr, *above = nullptr;
    for (const Average& average : by_doubling_) {
        if (average.steps == 0) continue;
        if (average.rows <= double(rows)) below = &average;
        if (average.rows >= double(rows) && !above) above = &average;
    }
    if (!below && !above) return 0;
    if (!below) {
        double flat = std::max(double(rows), kFlatRows);
        return above->seconds * std::min(1.0, flat / std::max(above->rows, kFlatRows));
    }
    if (!above)
        return below->seconds * std::max(double(rows), kFlatRows) /
               std::max(below->rows, kFlatRows);
    if (above->rows <= below->rows) return below->seconds;
    double part = (double(rows) - below->rows) / (above->rows - below->rows);
    return below->seconds + part * (above->seconds - below->seconds);
}

double CostModel::seconds(StepSize step) const {
    double attention = attended_ > 0 ? attention_seconds_ / attended_ * double(step.attended) : 0;
    return other_seconds(step.rows) + attention;
}

int64_t CostModel::rows_within(double limit, StepSize step, int64_t start, int64_t most) const {
    auto fits = [&](int64_t rows) {
        StepSize with = step;
        with.add(start, rows);
        return seconds(with) <= limit;
    };
    if (fits(most)) return most;
    int64_t low = 1, high = most;  // low fits, or is the least there is; high does not
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        (fits(middle) ? low : high) = middle;
    }
    return low;
}

double CostModel::prefill_seconds(int64_t start, int64_t tokens, int64_t chunk) const {
    double sum = 0;
    for (int64_t done = 0; done < tokens; done += chunk) {
        StepSize step;
        step.add(start + done, std::min(chunk, tokens - done));
        sum += seconds(step);
    }
    return sum;
}

}  // namespace genfast
