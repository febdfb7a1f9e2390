// The memory plan: which slot of the arena each computed value lives in.
//
// Values whose lifetimes do not overlap share a slot; an op that works in place takes its input's
// slot when nobody reads that input later. With keep_all every value has a slot of its own, so that
// any intermediate can be read after the step (tap, GENFAST_CHECK).
#pragma once

#include <functional>
#include <vector>

#include "program/ops.h"

namespace genfast {

struct Plan {
    std::vector<int> slot;       // by value; -1 for values that are not computed
    std::vector<size_t> offset;  // by slot
    size_t bytes = 0;
};

// may_replace: whether an instruction may take its input's slot, if its op can.
Plan plan_memory(
    const Program& program, const Limits& limits, bool keep_all,
    const std::function<bool(size_t)>& may_replace = [](size_t) { return true; });

}  // namespace genfast
