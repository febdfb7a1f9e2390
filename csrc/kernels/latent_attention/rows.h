// Rows in the cache: written, and read back as floats. Plain C++, so that what a cache holds does
// not depend on the instruction set that wrote it.
#pragma once

#include "kernels/attention/append.h"
#include "kernels/latent_attention/latent_attention.h"

namespace genfast::GENFAST_ISA {

static inline std::byte* row_at(const LatentArgs& a, int32_t page, int64_t s) {
    return a.cache + a.layout.keys(page, 0) + s * int64_t(a.layout.bytes_of(a.layout.stored_dim()));
}

// n numbers rounded to the cache's type, and their scale.
static inline void store_numbers(const LatentArgs& a, const float* x, int64_t n, std::byte* to,
                                 std::byte* scale) {
    if (a.layout.type == KvType::f32) {
        std::memcpy(to, x, size_t(n) * 4);
    } else if (a.layout.type == KvType::bf16) {
        for (int64_t i = 0; i < n; ++i) {
            const uint16_t half = f32_to_bf16(x[i]);
            std::memcpy(to + 2 * i, &half, 2);
        }
    } else {
        RoundedRow row;
        static_assert(kMaxLatentDim <= int64_t(sizeof row.bytes));
        round_row(a.layout.type, x, n, &row);
        std::memcpy(to, row.bytes, size_t(n));
        std::memcpy(scale, &row.scale, 4);
    }
}

static inline void load_numbers(const LatentArgs& a, const std::byte* from, int64_t n,
                                const std::byte* scale, float* to) {
    if (a.layout.type == KvType::f32) {
        std::memcpy(to, from, size_t(n) * 4);
    } else if (a.layout.type == KvType::bf16) {
        const uint16_t* halves = reinterpret_cast<const uint16_t*>(from);
        for (int64_t i = 0; i < n; ++i) to[i] = bf16_to_f32(halves[i]);
    } else {
        float unit;
        std::memcpy(&unit, scale, 4);
        const uint8_t* bytes = reinterpret_cast<const uint8_t*>(from);
        if (a.layout.type == KvType::int8)
            for (int64_t i = 0; i < n; ++i) to[i] = float(int(bytes[i]) - 128) * unit;
        else
            for (int64_t i = 0; i < n; ++i) to[i] = e4m3::to_f32(bytes[i]) * unit;
    }
}

// Token s (0 .. 31) of a page: c [R], then k [P].
static inline void load_row(const LatentArgs& a, int32_t page, int64_t s, float* to) {
    const int64_t R = a.layout.latent, P = a.layout.head_dim - R;
    const std::byte* from = row_at(a, page, s);
    load_numbers(a, from, R, a.cache + a.layout.value_scales(page, 0) + s * 4, to);
    load_numbers(a, from + a.layout.bytes_of(R), P, a.cache + a.layout.key_scales(page, 0) + s * 4,
                 to + R);
}

// The step's rows. A thread takes whole tokens: no two share a byte.
static inline void append_rows(const LatentArgs& a, Team& team) {
    const int64_t R = a.layout.latent, P = a.layout.head_dim - R;
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        Range mine = share(span.rows, team);
        for (int64_t t = mine.begin; t < mine.end; ++t) {
            const float* row = a.rows + (span.row + t) * (P + R);
            const int32_t page = span.pages[(span.start + t) / kPageTokens];
            const int64_t s = (span.start + t) % kPageTokens;
            std::byte* to = row_at(a, page, s);
            store_numbers(a, row + P, R, to, a.cache + a.layout.value_scales(page, 0) + s * 4);
            store_numbers(a, row, P, to + a.layout.bytes_of(R),
                          a.cache + a.layout.key_scales(page, 0) + s * 4);
        }
    }
}

}  // namespace genfast::GENFAST_ISA
