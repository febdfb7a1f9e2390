// attention: appends this step's keys and values to the paged KV cache, then
//   out[t, h] = sum_s softmax_s(q[t, h] . k[s, h'] * scale) v[s, h'],  h' = h / (H / Hkv),
//   over the tokens s <= position of t, with a window only the last `window` of these and the
//   first `sinks` of the sequence; scores may be capped, cap * tanh(score / cap) (Gemma 2, arXiv
//   2408.00118), and lose slopes[h] for every token between s and t (ALiBi, arXiv 2108.12409);
//   sink_logits[h] takes part in the softmax like one more score, whose value is zero (gpt-oss,
//   arXiv 2508.10925)
//   qkv [T, (H + 2 Hkv) D] f32, q, k (already rotated) and v side by side; out [T, H D] f32
//
// The step's rows belong to sequences: rows [row, row + rows) of a span are tokens start, start +
// 1, ... of one sequence whose cache pages are listed in `pages`.
//
// Numerics: a row's scores are chains of fma in ascending d (bf16: queries and weights are rounded
// to bf16 too, and of each pair the second comes first, as in vdpbf16ps); keys are taken in blocks
// of kRunTokens at absolute positions; each block gives (max, sum, weighted values) from what the
// row may see of it, and blocks are merged in ascending order. Sinks are a block of their own
// before all others, which then begin after them. A sink logit joins a row's sum once, after all
// blocks. So the result does not depend on chunking, on
// other rows, on threads or on where pages lie. Masked tokens are never read into a row's result,
// whatever they hold. The new keys and values are read back from the cache like all others (rounded
// to its type).
#pragma once

#include "kernels/attention/kv_layout.h"
#include "kernels/matmul/rows_for.h"
#include "kernels/sequence_span.h"

namespace genfast {

struct HeadTurns;  // head_turns.h

struct AttentionArgs {
    const float* qkv;
    float* out;
    std::byte* cache;  // this layer's storage: run r of head h at r * run_bytes + h * head_bytes
    KvLayout layout;
    const SequenceSpan* spans;
    std::byte* scratch;  // attention_scratch_bytes, 64-byte aligned
    int64_t span_count;
    int64_t T;
    int heads;       // H, a multiple of layout.heads
    float scale;     // > 0
    int64_t window;  // 0: all; else only the last `window` positions, the own one included
    int64_t sinks;   // with a window: the first positions, at most kPageTokens, seen by all
    float cap = 0;   // of the scores; 0: none
    const float* slopes = nullptr;       // [heads]; null: none
    const float* sink_logits = nullptr;  // [heads]; null: none
    int64_t context = 0;  // most tokens of a sequence: a GPU's blocks are counted before the step
    const HeadTurns* turns = nullptr;  // on a GPU: of qkv, before all else
    RowsFor rows_for = {};             // of out, where the context of few rows is shared out
};

}  // namespace genfast
