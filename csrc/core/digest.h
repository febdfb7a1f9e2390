// A digest of bytes, about as fast as memory gives them: tells whether two runs computed the same
// and whether a file is damaged. It finds accidents (of all ways to change the bytes about one in
// 2^64 goes unseen) and is no defence against somebody who chooses them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace genfast {

using Digest = std::array<uint64_t, 4>;

namespace digest_detail {

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
inline void add_stripe(const std::byte* stripe, Digest& sums) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
        uint64_t words[2];
        std::memcpy(words, stripe + lane * kLaneBytes, kLaneBytes);
        sums[lane] = (sums[lane] ^ mix(words[0] ^ kFirst, words[1] ^ kSecond)) * kStep;
    }
}

}  // namespace digest_detail

// The same on every machine. Bytes beyond the last count as zeros: the length is not part of it.
inline Digest digest(const void* data, size_t bytes) {
    using namespace digest_detail;
    const std::byte* at = static_cast<const std::byte*>(data);
    Digest sums{};
    for (; bytes >= kStripe; bytes -= kStripe, at += kStripe) add_stripe(at, sums);
    if (bytes > 0) {
        std::byte tail[kStripe] = {};
        std::memcpy(tail, at, bytes);
        add_stripe(tail, sums);
    }
    return sums;
}

inline uint64_t digest64(const void* data, size_t bytes) {
    using namespace digest_detail;
    const Digest sums = digest(data, bytes);
    return mix(mix(sums[0] ^ kFirst, sums[1] ^ kSecond), mix(sums[2] ^ kSecond, sums[3] ^ kFirst));
}

}  // namespace genfast
