// A 64-bit digest of bytes, about as fast as they come from the cache: tells whether two runs
// computed the same, and is no defence against somebody who wants it to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace genfast {

static inline uint64_t digest64(const void* data, size_t bytes) {
    constexpr int kLanes = 8;                              // chains that do not wait for each other
    constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15u;  // odd, so that no bit is lost
    uint64_t lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) lanes[i] = kMultiplier * uint64_t(i + 1);
    auto mix = [](uint64_t lane, uint64_t word) {
        lane = (lane ^ word) * kMultiplier;
        return lane ^ lane >> 29;
    };
    const char* at = static_cast<const char*>(data);
    size_t left = bytes;
    for (; left >= sizeof lanes; left -= sizeof lanes, at += sizeof lanes)
        for (int i = 0; i < kLanes; ++i) {
            uint64_t word;
            std::memcpy(&word, at + i * 8, 8);
            lanes[i] = mix(lanes[i], word);
        }
    for (int i = 0; left > 0; ++i) {
        uint64_t word = 0;
        size_t part = left < 8 ? left : 8;
        std::memcpy(&word, at, part);
        lanes[i] = mix(lanes[i], word);
        at += part;
        left -= part;
    }
    uint64_t sum = bytes;
    for (uint64_t lane : lanes) sum = mix(sum, lane);
    return sum;
}

}  // namespace genfast
