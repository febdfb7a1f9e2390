// The step's keys and values, into the cache. Queries and keys are normed and rotated before, where
// the program would have done so in launches of its own.
#pragma once

#include "kernels/attention/cuda_block.h"
#include "kernels/attention/cuda_int4.h"
#include "kernels/attention/head_turns.h"
#include "kernels/rms_norm/cuda_root.h"
#include "kernels/rope/cuda_turn.h"
#include "kernels/table.h"

namespace genfast::cuda {

// Of a row of the step and a KV head, by block (row, _).
struct NewToken {
    const float *k, *v;
    int32_t page;
    int64_t s;  // its place in the page

    __device__ NewToken(const AttentionArgs& a, const RowPosition& row, int head)
        : k(row_of(a, blockIdx.x) + int64_t(a.heads + head) * a.layout.head_dim),
          v(k + a.layout.heads * a.layout.head_dim),
          page(row.span->pages[row.position / kPageTokens]),
          s(row.position % kPageTokens) {}
};

__device__ inline void append_float(const AttentionArgs& a, const RowPosition& row, int head) {
    const NewToken token(a, row, head);
    const int64_t s = token.s, D = a.layout.head_dim;
    for (int64_t d = threadIdx.x; d < round_up(D, 4); d += kThreads) {
        store_kv(a.cache + a.layout.keys(token.page, head) + a.layout.key_element(s, d),
                 a.layout.type, d < D ? token.k[d] : 0);
        if (d < D)
            store_kv(a.cache + a.layout.values(token.page, head, d / a.layout.panel()) +
                         a.layout.value_element(s, d),
                     a.layout.type, token.v[d]);
    }
}

// int8, fp8: bytes, and a scale a token.
__device__ inline void append_bytes(const AttentionArgs& a, const RowPosition& row, int head) {
    const NewToken token(a, row, head);
    const int64_t s = token.s, D = a.layout.head_dim;
    const TokenScale key = token_scale(a.layout.type, token.k, D),
                     value = token_scale(a.layout.type, token.v, D);
    if (threadIdx.x == 0) {
        // Through the key's scale a value that is not finite reaches the weights too.
        float* scales = reinterpret_cast<float*>(a.cache + a.layout.key_scales(token.page, head));
        scales[s] = key.scale + 0 * value.scale;
        scales = reinterpret_cast<float*>(a.cache + a.layout.value_scales(token.page, head));
        scales[s] = value.scale;
    }
    for (int64_t d = threadIdx.x; d < round_up(D, 4); d += kThreads) {
        a.cache[a.layout.keys(token.page, head) + a.layout.key_element(s, d)] =
            d < D ? key.round(token.k[d]) : key.zero();
        if (d < D)
            a.cache[a.layout.values(token.page, head, d / a.layout.panel()) +
                    a.layout.value_element(s, d)] = value.round(token.v[d]);
    }
}

// The rows of a page, which share bytes, by the block of the step's first there.
__device__ inline void append_int4(const AttentionArgs& a, const RowPosition& row, int head) {
    const NewToken token(a, row, head);
    const int64_t s = token.s, left = row.span->start + row.span->rows - row.position;
    if (s > 0 && row.position > row.span->start) return;
    store_page(a, {token.k, token.v, (a.heads + 2 * a.layout.heads) * a.layout.head_dim, s,
                   s + left < kPageTokens ? s + left : kPageTokens, token.page, head});
}

__device__ inline void append_token(const AttentionArgs& a, const RowPosition& row, int head) {
    if (a.layout.type == KvType::int4) return append_int4(a, row, head);
    if (has_token_scales(a.layout.type)) return append_bytes(a, row, head);
    append_float(a, row, head);
}

// Block (t, head): KV head of row t; one that pads the step is nobody's.
__global__ void append_rows(AttentionArgs a) {
    wait_for_earlier_launches();
    const RowPosition row = find_row(a, blockIdx.x);
    clear_merge_counter(a);
    if (row.span) append_token(a, row, int(blockIdx.y));
}

// Block (t, head): query head or, behind these, KV head. A block that stores other rows' keys
// (int4) must find them turned: then rows come one from each sequence.
__global__ void turn_and_append(AttentionArgs a, HeadTurns turns) {
    wait_for_earlier_launches();
    const RowPosition row = find_row(a, blockIdx.x);
    clear_merge_counter(a);
    if (!row.span) return;
    const int head = int(blockIdx.y);
    const int64_t D = a.layout.head_dim;
    if (turns.norm.x) RootNorm(turns.norm).write();
    __syncthreads();
    for (int64_t d = threadIdx.x; d < D; d += kThreads)
        turn_column(turns.rope, blockIdx.x, head * D + d);
    __syncthreads();
    if (head >= a.heads) append_token(a, row, head - a.heads);
}

inline void append(const AttentionArgs& a) {
    const unsigned T = unsigned(a.T), heads = unsigned(a.layout.heads);
    const bool by_rows = a.layout.type != KvType::int4 || a.T == a.span_count;
    if (a.turns && by_rows)
        return launch(turn_and_append, dim3(T, unsigned(a.heads) + heads), kThreads, a, *a.turns);
    if (a.turns) {
        Team alone;
        if (a.turns->norm.x) rms_norm(a.turns->norm, alone);
        rope(a.turns->rope, alone);
    }
    launch(append_rows, dim3(T, heads), kThreads, a);
}

}  // namespace genfast::cuda
