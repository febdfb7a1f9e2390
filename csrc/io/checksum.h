// A checksum of a mapped file, taken by all threads as fast as memory gives the bytes: a digest of
// each mebibyte. Who needs one number hashes those (weights_digest.py).
#pragma once

#include <cstddef>
#include <vector>

#include "core/digest.h"
#include "core/thread_pool.h"

namespace genfast {

constexpr size_t kChecksumChunk = size_t(1) << 20;

// One for each begun chunk of data[0, bytes). The same for any pool.
std::vector<Digest> checksum(const std::byte* data, size_t bytes, ThreadPool& pool);

}  // namespace genfast
