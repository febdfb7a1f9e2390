// Writes one token's keys and values of one head into the cache, rounded to the cache's type.
// Compiled into the reference and into every instruction set, in plain C++: what a cache holds must
// not depend on who wrote it.
#pragma once

#include "kernels/attention/kv_layout.h"

namespace genfast::GENFAST_ISA {

// One row rounded to the cache's type, as bytes in ascending d.
struct RoundedRow {
    union {
        alignas(64) uint8_t bytes[kMaxHeadDim * 4];
        uint16_t halves[kMaxHeadDim];
    };
    float scale;  // int8 only: value = (byte - 128) * scale
};

static inline void round_row_int8(const float* x, int64_t n, RoundedRow* row) {
    // Without their sign bit, the bit patterns of floats are ordered as the floats are.
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; ++i) {
        uint32_t magnitude = f32_to_bits(x[i]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    float top = bits_to_f32(largest), inverse = 127 / top;
    row->scale = top / 127;
    if (largest >= 0x7f800000u) {  // not finite: make every score and value of the token NaN
        row->scale = bits_to_f32(0x7fc00000u);
        inverse = 0;
    } else if (top < 1e-30f) {  // 127 / top would overflow
        row->scale = 0;
        inverse = 0;
    }
    if (inverse == 0) {
        std::memset(row->bytes, 128, size_t(n));
        return;
    }
    // Added to 1.5 * 2^23 + 128, the product (at most 127.0001) is rounded to the nearest integer,
    // ties to even, and stands in the sum's lowest bits.
    for (int64_t i = 0; i < n; ++i)
        row->bytes[i] = uint8_t(f32_to_bits(x[i] * inverse + 12583040.0f));
}

static inline void round_row(KvType type, const float* x, int64_t n, RoundedRow* row) {
    switch (type) {
        case KvType::f32:
            std::memcpy(row->bytes, x, size_t(n) * 4);
            break;
        case KvType::bf16:
            for (int64_t i = 0; i < n; ++i) row->halves[i] = f32_to_bf16(x[i]);
            break;
        case KvType::int8:
            round_row_int8(x, n, row);
            break;
    }
}

static inline float load_kv(const std::byte* p, KvType type, float scale) {
    switch (type) {
        case KvType::f32: {
            float x;
            std::memcpy(&x, p, 4);
            return x;
        }
        case KvType::bf16: {
            uint16_t bits;
            std::memcpy(&bits, p, 2);
            return bf16_to_f32(bits);
        }
        case KvType::int8: {
            uint8_t byte;
            std::memcpy(&byte, p, 1);
            return float(int(byte) - 128) * scale;
        }
    }
    return 0;
}

// Copies n elements of `size` bytes to every fourth byte.
static inline void spread(const uint8_t* from, int64_t n, int size, std::byte* to) {
    if (size == 4)
        std::memcpy(to, from, size_t(n) * 4);
    else if (size == 2)
        for (int64_t i = 0; i < n; ++i) std::memcpy(to + 4 * i, from + 2 * i, 2);
    else
        for (int64_t i = 0; i < n; ++i) to[4 * i] = std::byte(from[i]);
}

// k, v [D] of token s (0 .. 31) of the page. D is padded by zeros in K, where it is summed over; in
// V the padding lies in lanes that nobody reads.
static inline void append_token(std::byte* cache, const KvLayout& layout, int32_t page, int64_t s,
                                int head, const float* k, const float* v) {
    int64_t D = layout.head_dim, panel = layout.panel();
    int size = layout.itemsize();
    bool scaled = layout.type == KvType::int8;
    RoundedRow keys, values;
    round_row(layout.type, k, D, &keys);
    round_row(layout.type, v, D, &values);
    if (scaled) {
        // Through the key's scale a value that is not finite reaches the weights, hence every
        // output.
        float key_scale = keys.scale + 0 * values.scale;
        std::memcpy(cache + layout.key_scales(page, head) + s * 4, &key_scale, 4);
        std::memcpy(cache + layout.value_scales(page, head) + s * 4, &values.scale, 4);
    }
    int64_t bytes = round_up(D, 4) * size;
    std::memset(keys.bytes + D * size, scaled ? 128 : 0, size_t(bytes - D * size));
    std::byte* to = cache + layout.keys(page, head) + s * 4;
    for (int64_t i = 0; i < bytes; i += 4, to += kPageTokens * 4)
        std::memcpy(to, keys.bytes + i, 4);
    for (int64_t d = 0; d < D; d += panel)
        spread(values.bytes + d * size, D - d < panel ? D - d : panel, size,
               cache + layout.values(page, head, d / panel) + layout.value_element(s, d));
}

}  // namespace genfast::GENFAST_ISA
