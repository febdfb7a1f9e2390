// What every way of attending shares: rows and what they see, which is taken in blocks of at most
// 512 tokens; how numbers are rounded to the cache; and how the results of blocks are merged.
#pragma once

#include "cuda/e4m3.h"
#include "cuda/launch.h"
#include "kernels/attention/attention.h"

namespace genfast::cuda {

constexpr int64_t kMostSplitRows = 16;

__host__ __device__ inline int64_t most_blocks(int64_t context) {
    return (context + kRunTokens - 1) / kRunTokens + 1;  // and the sinks
}

struct RowPosition {
    const SequenceSpan* span;  // null: the row pads the step
    int64_t position;
};

template <class Args>
__device__ inline RowPosition find_row(const Args& a, int64_t t) {
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        if (t >= span.row && t < span.row + span.rows) return {&span, span.start + t - span.row};
    }
    return {nullptr, 0};
}

__device__ inline const float* row_of(const AttentionArgs& a, int64_t t) {
    return a.qkv + t * (a.heads + 2 * a.layout.heads) * a.layout.head_dim;
}
__device__ inline void store_kv(std::byte* to, KvType type, float x) {
    if (type == KvType::f32)
        *reinterpret_cast<float*>(to) = x;
    else
        *reinterpret_cast<uint16_t*>(to) = f32_to_bf16(x);
}

// Of an int8 or fp8 cache, as append.h has it.
struct TokenScale {
    float scale, inverse;
    KvType type;

    __device__ std::byte zero() const { return std::byte(type == KvType::int8 ? 128 : 0); }
    __device__ std::byte round(float x) const {
        if (inverse == 0) return zero();
        if (type == KvType::fp8) return std::byte(e4m3::from_f32(x * inverse));
        // Added to 1.5 * 2^23 + 128, the product stands rounded in the sum's lowest bits.
        return std::byte(uint8_t(f32_to_bits(x * inverse + 12583040.0f)));
    }
};

// Of a row, by a block: one that is not finite makes every score and value of its token NaN.
__device__ inline TokenScale token_scale(KvType type, const float* x, int64_t n) {
    float largest = 0, poison = 0;
    for (int64_t d = threadIdx.x; d < n; d += kThreads) {
        largest = fmaxf(largest, fabsf(x[d]));
        poison += x[d] - x[d];
    }
    largest = block_max(largest);
    poison = block_sum(poison);
    if (poison != 0) return {bits_to_f32(0x7fc00000u), 0, type};
    if (largest < 1e-30f) return {0, 0, type};
    const float most = type == KvType::int8 ? 127 : e4m3::kLargest;
    return {largest / most, most / largest, type};
}

struct Tokens {
    int64_t begin, end;  // all in one block of kRunTokens
    __device__ bool has(int64_t token) const { return token >= begin && token < end; }
};

// What a row sees: the sinks, then blocks at absolute positions.
struct Visible {
    int64_t sinks, from, end;

    template <class Args>
    __device__ Visible(const Args& a, int64_t position) : sinks(a.sinks), from(0) {
        end = position + 1;
        if (sinks > end) sinks = end;
        if (a.window > 0 && end > a.window) from = end - a.window;
        if (from < sinks) from = sinks;
    }
    __device__ int64_t blocks() const {
        const int64_t others =
            from < end ? (end - 1) / kRunTokens - from / kRunTokens + 1 : int64_t(0);
        return others + (sinks > 0);
    }
    __device__ Tokens tokens(int64_t block) const {
        if (sinks > 0 && block-- == 0) return {0, sinks};
        const int64_t start = (from / kRunTokens + block) * kRunTokens;
        return {start > from ? start : from, start + kRunTokens < end ? start + kRunTokens : end};
    }
};

// What a block of context gave: the largest score, the sum, the values. Scratch holds these.
__host__ __device__ inline int64_t record_floats(const KvLayout& layout) {
    return layout.head_dim + 2;
}
__device__ inline float* record_of(const AttentionArgs& a, int64_t row, int64_t head, int64_t block,
                                   int64_t blocks) {
    return reinterpret_cast<float*>(a.scratch) +
           ((row * a.heads + head) * blocks + block) * record_floats(a.layout);
}

// Whether a row's blocks of context are shared out.
__host__ __device__ inline bool splits(const AttentionArgs& a) {
    return a.T <= kMostSplitRows && a.context > 0;
}
// Scratch of those: the records; their rows as floats, [T, H D], where products want them
// otherwise; then how many of a row's heads are merged.
__host__ __device__ inline float* merged_rows(const AttentionArgs& a) {
    return reinterpret_cast<float*>(a.scratch) +
           a.T * a.heads * most_blocks(a.context) * record_floats(a.layout);
}
__device__ inline unsigned* merge_counter(const AttentionArgs& a, int64_t t) {
    return reinterpret_cast<unsigned*>(merged_rows(a) + a.T * a.heads * a.layout.head_dim) + t;
}
__device__ inline void clear_merge_counter(const AttentionArgs& a) {
    if (splits(a) && blockIdx.y == 0 && threadIdx.x == 0) *merge_counter(a, blockIdx.x) = 0;
}
inline size_t split_bytes(const KvLayout& layout, int64_t heads, int64_t T, int64_t context) {
    const int64_t rows = T < kMostSplitRows ? T : kMostSplitRows;
    const int64_t of_head = most_blocks(context) * record_floats(layout) + layout.head_dim;
    return size_t(rows * (heads * of_head + 1)) * sizeof(float);
}

// Of the numbers of a head each thread owns these, in results.
constexpr int kOwned = kMaxHeadDim / kThreads;
__device__ inline int64_t owned(int j) {
    return threadIdx.x + j * kThreads;
}

// Merges two sums of e^(score - largest): what each one's weighted values are then multiplied by.
struct Factors {
    float mine, other;
};
__device__ inline Factors merge_sums(float& largest, float& sum, float other_largest,
                                     float other_sum) {
    const float most = fmaxf(largest, other_largest);
    const Factors factors{expf(largest - most), expf(other_largest - most)};
    sum = fmaf(sum, factors.mine, other_sum * factors.other);
    largest = most;
    return factors;
}

// The running result: e^(score - largest) summed, and times the values, of which a thread owns n.
template <int n>
struct MergedBlocks {
    float largest = -INFINITY, sum = 0, value[n] = {};

    __device__ void add(float other_largest, float other_sum, const float* other) {
        const Factors by = merge_sums(largest, sum, other_largest, other_sum);
        for (int j = 0; j < n; ++j) value[j] = fmaf(value[j], by.mine, other[j] * by.other);
    }
    // As a record, of one block: exactly what that gave.
    __device__ void keep(float* record, int64_t D) const {
        if (threadIdx.x == 0) {
            record[0] = largest;
            record[1] = sum;
        }
        for (int j = 0; j < n; ++j)
            if (owned(j) < D) record[2 + owned(j)] = value[j];
    }
    // Adds a record.
    __device__ void take(const float* record, int64_t D) {
        float other[n];
        for (int j = 0; j < n; ++j) other[j] = owned(j) < D ? record[2 + owned(j)] : 0;
        add(record[0], record[1], other);
    }
};

struct Merged : MergedBlocks<kOwned> {
    __device__ void write(const AttentionArgs& a, int64_t t, int64_t head) {
        const float nothing[kOwned] = {};
        if (a.sink_logits) add(a.sink_logits[head], 1, nothing);
        float* out = a.out + (t * a.heads + head) * a.layout.head_dim;
        for (int j = 0; j < kOwned; ++j)
            if (owned(j) < a.layout.head_dim) out[owned(j)] = value[j] / sum;
    }
};

}  // namespace genfast::cuda
