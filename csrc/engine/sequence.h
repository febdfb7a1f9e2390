// Tokens in a row, and how far the cache holds their keys and values.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kv_cache.h"

namespace genfast {

struct Sequence {
    std::vector<int32_t> context;  // prompt and generated tokens
    KvSequence kv;
    int64_t cached = 0;  // tokens of the context whose keys and values are in the cache

    int64_t missing() const { return int64_t(context.size()) - cached; }
};

}  // namespace genfast
