// One block of at most 512 tokens, for one row's query heads that share a KV head, of a cache in
// f32, int8, int4 or fp8: scores, weights, and weighted values; and how the results of blocks are
// merged.
#pragma once

#include "cuda/e4m3.h"
#include "cuda/launch.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/cuda_int4.h"

namespace genfast::cuda {

constexpr int64_t kMostSplitRows = 16;

inline int64_t most_blocks(int64_t context) {
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
// Of block (t, head).
__device__ inline const float* new_key(const AttentionArgs& a, int head) {
    return row_of(a, blockIdx.x) + int64_t(a.heads + head) * a.layout.head_dim;
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

struct Heads {
    int kv, query, count;  // query heads [query, query + count)
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

// A dword of the cache as the neighbours it holds; int4: the half of them that begins with `first`.
template <KvType type>
struct Word {
    static constexpr int kNumbers = type == KvType::int4 ? 4 : 1 << interleave_bits(type);
    __device__ static void unpack(uint32_t word, int64_t first, float* to) {
        if constexpr (type == KvType::f32) {
            to[0] = bits_to_f32(word);
        } else if constexpr (type == KvType::fp8) {
            const uint2 pairs = e4m3_pairs(word);
            to[0] = bits_to_f32(pairs.x << 16);
            to[1] = bits_to_f32(pairs.x & 0xffff0000u);
            to[2] = bits_to_f32(pairs.y << 16);
            to[3] = bits_to_f32(pairs.y & 0xffff0000u);
        } else {
            constexpr int bits = type == KvType::int8 ? 255 : 15;
            constexpr float zero = type == KvType::int8 ? -128 : kLowest;
            if (type == KvType::int4) word >>= first & 4;
#pragma unroll
            for (int i = 0; i < kNumbers; ++i) to[i] = float(int(word >> 8 * i & bits)) + zero;
        }
    }
};

__device__ inline uint32_t word_at(const std::byte* p) {
    return *reinterpret_cast<const uint32_t*>(p);
}
// The scale of element d of token s (0 .. 31): 1 where the type has none.
template <KvType type>
__device__ inline float scale_at(const AttentionArgs& a, size_t scales, int64_t s, int64_t d) {
    if (type == KvType::int4) return group_scale(a.cache + scales, s, d);
    return has_token_scales(type) ? reinterpret_cast<const float*>(a.cache + scales)[s] : 1.0f;
}

// The lane's token of a page by each query: a chain of fma over the d that share a scale.
template <KvType type, int G>
__device__ inline void score_token(const AttentionArgs& a, int32_t page, int kv_head,
                                   const float (*query)[kMaxHeadDim], float (&score)[G]) {
    constexpr int n = Word<type>::kNumbers;
    const std::byte* keys = a.cache + a.layout.keys(page, kv_head);
    auto score_range = [&](int64_t first, int64_t end) {
        float part[G] = {};
        for (int64_t d = first; d < end; d += n) {
            float k[n];
            Word<type>::unpack(word_at(keys + a.layout.key_element(lane(), d)), d, k);
#pragma unroll
            for (int g = 0; g < G; ++g)
#pragma unroll
                for (int i = 0; i < n; ++i) part[g] = fmaf(query[g][d + i], k[i], part[g]);
        }
        const float scale =
            scale_at<type>(a, a.layout.key_scales(page, kv_head), lane(), first) * a.scale;
#pragma unroll
        for (int g = 0; g < G; ++g) score[g] += part[g] * scale;
    };
    if constexpr (type == KvType::int4) {
        const int64_t dims = a.layout.stored_dim();
        for (int64_t first = 0; first < dims; first += kKvGroup)
            score_range(first, first + kKvGroup < dims ? first + kKvGroup : dims);
    } else {
        score_range(0, a.layout.head_dim);
    }
}

// What a warp's page adds to the lane's numbers of the values, 32 apart.
template <KvType type, int G>
__device__ inline void weigh_page(const AttentionArgs& a, int32_t page, int kv_head, Tokens tokens,
                                  int64_t first, const float (*weight)[kRunTokens],
                                  float (&value)[G][kMaxHeadDim / kWarp]) {
    constexpr int n = Word<type>::kNumbers;
    const size_t scales = a.layout.value_scales(page, kv_head);
    for (int64_t s = 0; s < kPageTokens; s += n) {
        if (first + s + n <= tokens.begin || first + s >= tokens.end) continue;
        if (n == 1 && !tokens.has(first + s)) continue;
#pragma unroll
        for (int j = 0; j < kMaxHeadDim / kWarp; ++j) {
            if (j * kWarp >= a.layout.head_dim) break;
            // Lanes beyond the head take its last number, for nobody: nvcc follows every path of 8
            // branches, for minutes.
            const int64_t own = j * kWarp + lane(), last = a.layout.head_dim - 1;
            const int64_t d = own < last ? own : last;
            float v[n];
            Word<type>::unpack(
                word_at(a.cache + a.layout.values(page, kv_head, d / a.layout.panel()) +
                        a.layout.value_element(s, d)),
                s, v);
#pragma unroll
            for (int i = 0; i < n; ++i) {
                if (n > 1 && !tokens.has(first + s + i)) continue;  // whatever it holds
                const float x = v[i] * scale_at<type>(a, scales, s + i, d);
#pragma unroll
                for (int g = 0; g < G; ++g)
                    value[g][j] = fmaf(weight[g][(first + s + i) % kRunTokens], x, value[g][j]);
            }
        }
    }
}

// Adds the block to what is merged so far. Warps take its pages in turn.
template <KvType type, int G>
__device__ void attend_block(const AttentionArgs& a, const RowPosition& row, int64_t t,
                             const Heads& heads, Tokens tokens, Merged (&merged)[G]) {
    __shared__ float query[G][kMaxHeadDim], weight[G][kRunTokens], sums[kWarps][kMaxHeadDim];
    const int64_t D = a.layout.head_dim;
    for (int g = 0; g < G; ++g)
        for (int64_t d = threadIdx.x; d < kMaxHeadDim; d += kThreads) {
            query[g][d] = g < heads.count && d < D ? row_of(a, t)[(heads.query + g) * D + d] : 0;
        }
    __syncthreads();
    if (type == KvType::int4) {
        for (int g = 0; g < heads.count; ++g) rotate_query(a.layout, query[g]);
        __syncthreads();
    }

    const int64_t first_page = tokens.begin / kPageTokens + warp();
    float largest[G];
    for (float& x : largest) x = -INFINITY;
    for (int64_t p = first_page; p * kPageTokens < tokens.end; p += kWarps) {
        const int64_t token = p * kPageTokens + lane();
        if (!tokens.has(token)) continue;
        float score[G] = {};
        score_token<type, G>(a, row.span->pages[p], heads.kv, query, score);
#pragma unroll
        for (int g = 0; g < G; ++g) {
            if (a.cap > 0) score[g] = a.cap * tanhf(score[g] / a.cap);
            if (a.slopes && g < heads.count)
                score[g] -= a.slopes[heads.query + g] * float(row.position - token);
            weight[g][token % kRunTokens] = score[g];
            largest[g] = fmaxf(score[g], largest[g]);
        }
    }
    for (int g = 0; g < G; ++g) largest[g] = block_max(largest[g]);

    float sum[G] = {}, value[G][kMaxHeadDim / kWarp] = {};
    for (int64_t p = first_page; p * kPageTokens < tokens.end; p += kWarps) {
        const int64_t token = p * kPageTokens + lane();
        if (tokens.has(token))
            for (int g = 0; g < G; ++g) {
                float& w = weight[g][token % kRunTokens];
                sum[g] += w = expf(w - largest[g]);
            }
        __syncwarp();
        weigh_page<type, G>(a, row.span->pages[p], heads.kv, tokens, p * kPageTokens, weight,
                            value);
    }
    for (int g = 0; g < G; ++g) {
        sum[g] = block_sum(sum[g]);
#pragma unroll
        for (int j = 0; j < kMaxHeadDim / kWarp; ++j)
            sums[warp()][j * kWarp + lane()] = value[g][j];
        __syncthreads();
        float total[kOwned];
        for (int j = 0; j < kOwned; ++j) {
            total[j] = sums[0][owned(j)];
            for (int w = 1; w < kWarps; ++w) total[j] += sums[w][owned(j)];
        }
        merged[g].add(largest[g], sum[g], total);
        __syncthreads();
    }
}

}  // namespace genfast::cuda
