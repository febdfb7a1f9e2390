// Writes keys and values into the cache, rounded to the cache's type. Compiled into the reference
// and into every instruction set, in plain C++: what a cache holds must not depend on who wrote it.
#pragma once

#include "core/e4m3.h"
#include "core/team.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/round_int4.h"

namespace genfast::GENFAST_ISA {

// One row rounded to the cache's type, as bytes in ascending d (int4: one byte a nibble).
struct RoundedRow {
    union {
        alignas(64) uint8_t bytes[kMaxHeadDim * 4];
        uint16_t halves[kMaxHeadDim];
    };
    float scale;                              // int8, fp8
    uint16_t scales[kMaxHeadDim / kKvGroup];  // int4: f16, of each group
};

struct TokenScale {
    float scale, inverse;
};

// The scale by which a row's largest magnitude becomes `most`; inverse 0: all of it become zeros.
static inline TokenScale token_scale(const float* x, int64_t n, float most) {
    // Without their sign bit, the bit patterns of floats are ordered as the floats are.
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; ++i) {
        uint32_t magnitude = f32_to_bits(x[i]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    const float top = bits_to_f32(largest);
    // Not finite: make every score and value of the token NaN.
    if (largest >= 0x7f800000u) return {bits_to_f32(0x7fc00000u), 0};
    if (top < 1e-30f) return {0, 0};  // most / top would overflow
    return {top / most, most / top};
}

static inline void round_row_int8(const float* x, int64_t n, RoundedRow* row) {
    const auto [scale, inverse] = token_scale(x, n, 127);
    row->scale = scale;
    if (inverse == 0) {
        std::memset(row->bytes, 128, size_t(n));
        return;
    }
    // Added to 1.5 * 2^23 + 128, the product (at most 127.0001) is rounded to the nearest integer,
    // ties to even, and stands in the sum's lowest bits.
    for (int64_t i = 0; i < n; ++i)
        row->bytes[i] = uint8_t(f32_to_bits(x[i] * inverse + 12583040.0f));
}

static inline void round_row_fp8(const float* x, int64_t n, RoundedRow* row) {
    const auto [scale, inverse] = token_scale(x, n, e4m3::kLargest);
    row->scale = scale;
    if (inverse == 0) {
        std::memset(row->bytes, 0, size_t(n));
        return;
    }
    for (int64_t i = 0; i < n; ++i) row->bytes[i] = e4m3::from_f32(x[i] * inverse);
}

// x [Ds, and zeros up to the end of the last group]
static inline void round_row_int4(const float* x, int64_t Ds, RoundedRow* row) {
    for (int64_t d = 0; d < Ds; d += kKvGroup)
        row->scales[d / kKvGroup] = round_group(x + d, row->bytes + d);
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
        case KvType::int4:
            round_row_int4(x, n, row);
            break;
        case KvType::fp8:
            round_row_fp8(x, n, row);
            break;
    }
}

// Element i along the axis that dwords hold neighbours of.
static inline float load_kv(const std::byte* p, KvType type, int64_t i, float scale) {
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
        case KvType::int4: {
            uint8_t byte;
            std::memcpy(&byte, p, 1);
            return float((i & 4 ? byte >> 4 : byte & 15) + kLowest) * scale;
        }
        case KvType::fp8: {
            uint8_t byte;
            std::memcpy(&byte, p, 1);
            return e4m3::to_f32(byte) * scale;
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

static inline void append_int4(std::byte* cache, const KvLayout& layout, int32_t page, int64_t s,
                               int head, const float* k, const float* v) {
    int64_t D = layout.head_dim, Ds = layout.stored_dim();
    float padded[2][kMaxHeadDim] = {};
    std::memcpy(padded[0], k, size_t(D) * 4);
    std::memcpy(padded[1], v, size_t(D) * 4);
    for (int64_t d = 0; d + kKvGroup <= Ds; d += kKvGroup) rotate_group(padded[0] + d);
    RoundedRow keys, values;
    round_row(KvType::int4, padded[0], Ds, &keys);
    round_row(KvType::int4, padded[1], Ds, &values);
    for (int64_t g = 0; g < layout.panels(); ++g) {
        // As for int8, through the key's scale.
        uint16_t key_scale = values.scales[g] == kNotFinite ? values.scales[g] : keys.scales[g];
        size_t at = size_t(g * kPageTokens + s) * 2;
        std::memcpy(cache + layout.key_scales(page, head) + at, &key_scale, 2);
        std::memcpy(cache + layout.value_scales(page, head) + at, &values.scales[g], 2);
    }
    std::byte* to = cache + layout.keys(page, head) + s * 4;
    for (int64_t d = 0; d < Ds; d += 8, to += kPageTokens * 4)
        for (int i = 0; i < 4; ++i)
            to[i] = std::byte(keys.bytes[d + i] | keys.bytes[d + 4 + i] << 4);
    // A value shares its byte with that of another token.
    const int shift = s & 4 ? 4 : 0;
    for (int64_t panel = 0; panel < layout.panels(); ++panel) {
        const uint8_t* from = values.bytes + panel * kKvGroup;
        to = cache + layout.values(page, head, panel) + layout.value_element(s, panel * kKvGroup);
        for (int64_t d = 0; d < layout.panel_width(panel); ++d, to += 4)
            *to = (*to & std::byte(0xf0 >> shift)) | std::byte(from[d] << shift);
    }
}

// k, v [D] of token s (0 .. 31) of the page. D is padded by zeros in K, where it is summed over; in
// V the padding lies in lanes that nobody reads.
static inline void append_token(std::byte* cache, const KvLayout& layout, int32_t page, int64_t s,
                                int head, const float* k, const float* v) {
    if (layout.type == KvType::int4) return append_int4(cache, layout, page, s, head, k, v);
    int64_t D = layout.head_dim, panel = layout.panel();
    int size = int(layout.bytes_of(1));
    RoundedRow keys, values;
    round_row(layout.type, k, D, &keys);
    round_row(layout.type, v, D, &values);
    if (has_token_scales(layout.type)) {
        // Through the key's scale a value that is not finite reaches the weights, hence every
        // output.
        float key_scale = keys.scale + 0 * values.scale;
        std::memcpy(cache + layout.key_scales(page, head) + s * 4, &key_scale, 4);
        std::memcpy(cache + layout.value_scales(page, head) + s * 4, &values.scale, 4);
    }
    int64_t bytes = round_up(D, 4) * size;
    std::memset(keys.bytes + D * size, layout.type == KvType::int8 ? 128 : 0,
                size_t(bytes - D * size));
    std::byte* to = cache + layout.keys(page, head) + s * 4;
    for (int64_t i = 0; i < bytes; i += 4, to += kPageTokens * 4)
        std::memcpy(to, keys.bytes + i, 4);
    for (int64_t d = 0; d < D; d += panel)
        spread(values.bytes + d * size, D - d < panel ? D - d : panel, size,
               cache + layout.values(page, head, d / panel) + layout.value_element(s, d));
}

// The step's keys and values. A thread takes whole pages of a head: tokens of one share bytes.
static inline void append_step(const AttentionArgs& a, Team& team) {
    int64_t D = a.layout.head_dim, stride = (a.heads + 2 * a.layout.heads) * D;
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        int64_t end = span.start + span.rows, first = span.start / kPageTokens;
        int64_t pages = (end - 1) / kPageTokens - first + 1;
        Range mine = share(pages * a.layout.heads, team);
        for (int64_t unit = mine.begin; unit < mine.end; ++unit) {
            int head = int(unit / pages);
            int64_t page = first + unit % pages, position = page * kPageTokens;
            int64_t stop = position + kPageTokens < end ? position + kPageTokens : end;
            if (position < span.start) position = span.start;
            const float* k =
                a.qkv + (span.row + position - span.start) * stride + (a.heads + head) * D;
            for (; position < stop; ++position, k += stride) {
                // Rows lie too far apart for the hardware to guess the next one.
                for (int64_t d = 0; d < D; d += 16) {
                    __builtin_prefetch(k + 4 * stride + d);
                    __builtin_prefetch(k + 4 * stride + a.layout.heads * D + d);
                }
                append_token(a.cache, a.layout, span.pages[page], position % kPageTokens, head, k,
                             k + a.layout.heads * D);
            }
        }
    }
}

}  // namespace genfast::GENFAST_ISA
