// Counter-based random numbers: a draw is a pure function of (seed, stream, position), so it does
// not depend on the batch, on speculation, or on how often the generator was asked before.
// Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <cstdint>

namespace genfast {

struct Philox {
    uint32_t word[4];
};

static inline Philox philox(uint64_t seed, uint64_t stream, uint64_t position) {
    uint32_t c[4] = {uint32_t(position), uint32_t(position >> 32), uint32_t(stream),
                     uint32_t(stream >> 32)};
    uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        uint64_t p0 = uint64_t(0xD2511F53u) * c[0], p1 = uint64_t(0xCD9E8D57u) * c[2];
        uint32_t next[4] = {uint32_t(p1 >> 32) ^ c[1] ^ k0, uint32_t(p1),
                            uint32_t(p0 >> 32) ^ c[3] ^ k1, uint32_t(p0)};
        for (int i = 0; i < 4; ++i) c[i] = next[i];
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c[0], c[1], c[2], c[3]}};
}

// Uniform in [0, 1) with 53 random bits. There are two independent ones at each position.
enum class Uniform { draw, chance };
static inline double uniform(uint64_t seed, uint64_t stream, uint64_t position,
                             Uniform which = Uniform::draw) {
    Philox r = philox(seed, stream, position);
    const uint32_t* word = r.word + (which == Uniform::draw ? 0 : 2);
    uint64_t bits = (uint64_t(word[0]) << 32) | word[1];
    return double(bits >> 11) * 0x1p-53;
}

}  // namespace genfast
