// The memory plan: which slot of the arena each computed value lives in.
//
// Values whose lifetimes do not overlap share a slot; an op that works in place takes its input's
// slot when nobody reads that input later. With keep_all every value has a slot of its own, so that
// any intermediate can be read after the step (tap, GENFAST_CHECK).
#pragma once

#include <vector>

#include "program/ops.h"

namespace genfast {

struct Plan {
    std::vector<int> slot;       // by value; -1 for values that are not computed
    std::vector<size_t> offset;  // by slot
    size_t bytes = 0;
};

Plan plan_memory(const Program& program, const Limits& limits, bool keep_all);

}  // namespace genfast
