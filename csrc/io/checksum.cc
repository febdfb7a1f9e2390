#include "io/checksum.h"

#include <algorithm>
#include <cstring>

namespace genfast {
namespace {

constexpr size_t kLanes = 4, kLaneBytes = 16, kStripe = kLanes * kLaneBytes;
// Odd numbers of about as many ones as zeros: digits of pi.
constexpr uint64_t kFirst = 0x243f6a8885a308d3, kSecond = 0x13198a2e03707345;
constexpr uint64_t kStep = 0xa4093822299f31d1;

// Both halves of the product: every bit of one factor moves about half of the result's.
inline uint64_t mix(uint64_t a, uint64_t b) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return uint64_t(product) ^ uint64_t(product >> 64);
}

// A lane's sum goes through an invertible step, so two that differ stay different until other
// bytes differ too, and the order of the stripes counts. Four lanes hide the multiplications.
inline void add_stripe(const std::byte* stripe, ChunkChecksum& sums) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
        uint64_t words[2];
        std::memcpy(words, stripe + lane * kLaneBytes, kLaneBytes);
        sums[lane] = (sums[lane] ^ mix(words[0] ^ kFirst, words[1] ^ kSecond)) * kStep;
    }
}

ChunkChecksum of_chunk(const std::byte* data, size_t bytes) {
    ChunkChecksum sums{};
    size_t at = 0;
    for (; at + kStripe <= bytes; at += kStripe) add_stripe(data + at, sums);
    if (at < bytes) {
        std::byte tail[kStripe] = {};
        std::memcpy(tail, data + at, bytes - at);
        add_stripe(tail, sums);
    }
    return sums;
}

}  // namespace

std::vector<ChunkChecksum> checksum(const std::byte* data, size_t bytes, ThreadPool& pool) {
    std::vector<ChunkChecksum> sums((bytes + kChecksumChunk - 1) / kChecksumChunk);
    pool.run([&](Team& team) {
        team.each_job(int64_t(sums.size()), [&](int64_t chunk) {
            const size_t begin = size_t(chunk) * kChecksumChunk;
            sums[size_t(chunk)] = of_chunk(data + begin, std::min(kChecksumChunk, bytes - begin));
        });
    });
    return sums;
}

}  // namespace genfast
