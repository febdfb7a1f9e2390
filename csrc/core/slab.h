// Memory for the weights of models. A matrix of an expert is smaller than a huge page, and in small
// pages it is read a tenth slower: such matrices lie side by side in slabs of huge pages.
#pragma once

#include <cstddef>
#include <memory>

namespace genfast {

// Zeroed, 64-byte aligned. A slab goes back once nobody holds a piece of it. Throws std::bad_alloc.
std::shared_ptr<std::byte> weight_memory(size_t bytes);

}  // namespace genfast
