// Shared by the parts of the self-test.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/random.h"

namespace genfast {

// Prints and counts what does not hold.
void expect(bool condition, const std::string& what);

// Numbers from -1 to 1.
inline std::vector<float> noise(uint64_t seed, uint64_t stream, int64_t count) {
    std::vector<float> numbers(static_cast<size_t>(count));
    for (size_t i = 0; i < numbers.size(); ++i)
        numbers[i] = float(uniform(seed, stream, i) * 2 - 1);
    return numbers;
}

void kv_cache();
void state_cache();
void threads();        // threads.cc
void scratch();        // scratch.cc
void amx_tiles();      // amx.cc
void amx_attention();  // amx_attention.cc
void amx_conv2d();     // amx_conv2d.cc

}  // namespace genfast
