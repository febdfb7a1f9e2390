// Shared by the parts of the self-test.
#pragma once

#include <string>

namespace genfast {

// Prints and counts what does not hold.
void expect(bool condition, const std::string& what);

void kv_cache();
void state_cache();
void threads();        // threads.cc
void amx_tiles();      // amx.cc
void amx_attention();  // amx_attention.cc
void amx_conv2d();     // amx_conv2d.cc

}  // namespace genfast
