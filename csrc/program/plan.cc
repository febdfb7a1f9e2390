#include "program/plan.h"

#include <algorithm>

namespace genfast {
namespace {

constexpr size_t kSlotAlignment = 4096;  // slots start on pages: no false sharing, cheap to commit

size_t value_bytes(const Value& value, const Limits& limits) {
    int64_t rows = value.rows == kTokens    ? limits.tokens
                   : value.rows == kOutputs ? limits.outputs
                                            : value.rows;
    size_t bytes = size_t(rows) * size_t(value.cols) * sizeof(float);
    return (bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
}

std::vector<int> last_uses(const Program& program) {
    std::vector<int> last(program.values().size(), -1);
    int index = 0;
    for (const Instruction& instruction : program.instructions()) {
        last[instruction.output] = index;
        for (ValueId id : instruction.inputs)
            if (id >= 0) last[id] = index;
        ++index;
    }
    for (ValueId id : program.outputs()) last[id] = index;
    return last;
}

}  // namespace

Plan plan_memory(const Program& program, const Limits& limits, bool keep_all,
                 const std::function<bool(size_t)>& may_replace) {
    Plan plan;
    plan.slot.assign(program.values().size(), -1);
    std::vector<size_t> sizes;
    std::vector<int> free;
    std::vector<int> last = last_uses(program);

    auto take_slot = [&](size_t bytes) {
        // The smallest free slot that is large enough, else the largest one, grown.
        auto better = [&](int a, int b) {
            bool fits_a = sizes[a] >= bytes, fits_b = sizes[b] >= bytes;
            if (fits_a != fits_b) return fits_a;
            return fits_a ? sizes[a] < sizes[b] : sizes[a] > sizes[b];
        };
        auto best = std::min_element(free.begin(), free.end(), better);
        if (best == free.end()) {
            sizes.push_back(bytes);
            return int(sizes.size()) - 1;
        }
        int slot = *best;
        free.erase(best);
        sizes[slot] = std::max(sizes[slot], bytes);
        return slot;
    };

    for (ValueId id : program.inputs())  // the caller fills them before the first instruction
        plan.slot[id] = take_slot(value_bytes(program.values()[id], limits));

    int index = 0;
    for (const Instruction& instruction : program.instructions()) {
        size_t bytes = value_bytes(program.values()[instruction.output], limits);
        ValueId first = instruction.inputs.empty() ? -1 : instruction.inputs[0];
        bool reuse = !keep_all && instruction.op->in_place && first >= 0 && plan.slot[first] >= 0 &&
                     last[first] == index && may_replace(size_t(index));
        plan.slot[instruction.output] = reuse ? plan.slot[first] : take_slot(bytes);
        if (!keep_all) {
            std::vector<ValueId> ended = instruction.inputs;
            ended.push_back(instruction.output);  // a value nobody reads
            std::sort(ended.begin(), ended.end());
            ended.erase(std::unique(ended.begin(), ended.end()), ended.end());
            for (ValueId id : ended) {
                bool handed_on = reuse && id == first;
                if (id >= 0 && plan.slot[id] >= 0 && last[id] == index && !handed_on)
                    free.push_back(plan.slot[id]);
            }
        }
        ++index;
    }
    for (size_t bytes : sizes) {
        plan.offset.push_back(plan.bytes);
        plan.bytes += bytes;
    }
    return plan;
}

}  // namespace genfast
