// A digest of bytes, about as fast as memory gives them: tells whether two runs computed the same
// and whether a file is damaged. It finds accidents (of all ways to change the bytes about one in
// 2^64 goes unseen) and is no defence against somebody who chooses them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/dtype.h"

namespace genfast {

using Digest = std::array<uint64_t, 4>;

namespace digest_detail {

constexpr size_t kLanes = 4, kLaneBytes = 16, kStripe = kLanes * kLaneBytes;
// Odd numbers of about as many ones as zeros: digits of pi.
constexpr uint64_t kFirst = 0x243f6a8885a308d3, kSecond = 0x13198a2e03707345;
constexpr uint64_t kStep = 0xa4093822299f31d1;

// Both halves of the product: every bit of one factor moves about half of the result's.
GENFAST_ANYWHERE uint64_t mix(uint64_t a, uint64_t b) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return uint64_t(product) ^ uint64_t(product >> 64);
}

// A lane's sum goes through an invertible step, so two that differ stay different until other
// bytes differ too, and the order of the stripes counts. Four lanes hide the multiplications.
GENFAST_ANYWHERE void add_stripe(const void* stripe, uint64_t* sums) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
        uint64_t words[2];
        std::memcpy(words, static_cast<const std::byte*>(stripe) + lane * kLaneBytes, kLaneBytes);
        sums[lane] = (sums[lane] ^ mix(words[0] ^ kFirst, words[1] ^ kSecond)) * kStep;
    }
}

GENFAST_ANYWHERE uint64_t join(const uint64_t* sums) {
    return mix(mix(sums[0] ^ kFirst, sums[1] ^ kSecond), mix(sums[2] ^ kSecond, sums[3] ^ kFirst));
}

}  // namespace digest_detail

// The same on every machine. Bytes beyond the last count as zeros: the length is not part of it.
inline Digest digest(const void* data, size_t bytes) {
    using namespace digest_detail;
    const std::byte* at = static_cast<const std::byte*>(data);
    Digest sums{};
    for (; bytes >= kStripe; bytes -= kStripe, at += kStripe) add_stripe(at, sums.data());
    if (bytes > 0) {
        std::byte tail[kStripe] = {};
        std::memcpy(tail, at, bytes);
        add_stripe(tail, sums.data());
    }
    return sums;
}

inline uint64_t digest64(const void* data, size_t bytes) {
    return digest_detail::join(digest(data, bytes).data());
}

// Of a row of numbers: a digest of digests, three levels high, so that threads may share the work.
constexpr int64_t kDigestRun = 128, kDigestPart = 16 * kDigestRun;

// Of at most kDigestRun numbers.
GENFAST_ANYWHERE uint64_t digest_run(const float* x, int64_t n) {
    uint64_t sums[4] = {};
    for (int64_t i = 0; i < n; i += 16) {
        uint32_t stripe[16];
        for (int64_t j = 0; j < 16; ++j) stripe[j] = i + j < n ? f32_to_bits(x[i + j]) : 0;
        digest_detail::add_stripe(stripe, sums);
    }
    return digest_detail::join(sums);
}

GENFAST_ANYWHERE uint64_t digest_of(const uint64_t* digests, int64_t n) {
    uint64_t sums[4] = {};
    for (int64_t i = 0; i < n; i += 8) {
        uint64_t stripe[8];
        for (int64_t j = 0; j < 8; ++j) stripe[j] = i + j < n ? digests[i + j] : 0;
        digest_detail::add_stripe(stripe, sums);
    }
    return digest_detail::join(sums);
}

inline uint64_t digest_row(const float* x, int64_t n) {
    std::vector<uint64_t> parts;
    for (int64_t part = 0; part < n; part += kDigestPart) {
        const int64_t end = part + kDigestPart < n ? part + kDigestPart : n;
        uint64_t runs[kDigestPart / kDigestRun];
        int64_t count = 0;
        for (int64_t i = part; i < end; i += kDigestRun)
            runs[count++] = digest_run(x + i, end - i < kDigestRun ? end - i : kDigestRun);
        parts.push_back(digest_of(runs, count));
    }
    return digest_of(parts.data(), int64_t(parts.size()));
}

}  // namespace genfast
