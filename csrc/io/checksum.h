// A checksum of a mapped file, taken by all threads as fast as memory gives the bytes.
//
// The bytes are cut into chunks of a mebibyte, each of which gives four words; who needs one number
// hashes those (weights_digest.py). It finds accidents: of all ways to change a
// chunk about one in 2^64 goes unseen. It is no defence against somebody who chooses the bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/thread_pool.h"

namespace genfast {

constexpr size_t kChecksumChunk = size_t(1) << 20;
using ChunkChecksum = std::array<uint64_t, 4>;

// One for each begun chunk of data[0, bytes). The same on every machine and for any pool.
std::vector<ChunkChecksum> checksum(const std::byte* data, size_t bytes, ThreadPool& pool);

}  // namespace genfast
