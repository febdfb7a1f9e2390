// Pages of mapped files.
#pragma once

#include <cstddef>

namespace genfast {

// Lets go of the pages under data[0, bytes), which must lie in a shared, read-only map of a file:
// they stop counting as this process's memory, and reading them again brings them back from the
// system's cache. (Of any other memory the contents would be lost.)
void release_pages(const void* data, size_t bytes);

}  // namespace genfast
