#include <cmath>

#include "kernels/attention/append.h"
#include "kernels/table.h"

namespace genfast::ref {
namespace {

// Reads the cache element by element, whatever its type.
struct Reader {
    const AttentionArgs& a;
    const SequenceSpan& span;
    int head;

    double key(int64_t token, int64_t d) const {
        int32_t page = span.pages[token / kPageTokens];
        return load_kv(
            a.cache + a.layout.keys(page, head) + a.layout.key_element(token % kPageTokens, d),
            a.layout.type, d, scale(a.layout.key_scales(page, head), token, d));
    }
    double value(int64_t token, int64_t d) const {
        int32_t page = span.pages[token / kPageTokens];
        return load_kv(a.cache + a.layout.values(page, head, d / a.layout.panel()) +
                           a.layout.value_element(token % kPageTokens, d),
                       a.layout.type, token, scale(a.layout.value_scales(page, head), token, d));
    }
    float scale(size_t offset, int64_t token, int64_t d) const {
        if (a.layout.type == KvType::int4) {
            uint16_t half;
            int64_t index = d / kKvGroup * kPageTokens + token % kPageTokens;
            std::memcpy(&half, a.cache + offset + index * 2, 2);
            return f16_to_f32(half);
        }
        if (!has_token_scales(a.layout.type)) return 1;
        float x;
        std::memcpy(&x, a.cache + offset + token % kPageTokens * 4, 4);
        return x;
    }
};

void attend(const AttentionArgs& a, const SequenceSpan& span, int64_t t, int h, double* weights) {
    int64_t D = a.layout.head_dim, stride = (a.heads + 2 * a.layout.heads) * D;
    int64_t keys_dim = a.layout.type == KvType::int4 ? a.layout.stored_dim() : D;
    const float* row = a.qkv + (span.row + t) * stride + h * D;
    const bool round = a.layout.type == KvType::bf16;
    double q[kMaxHeadDim] = {};
    for (int64_t d = 0; d < D; ++d) q[d] = round ? bf16_to_f32(f32_to_bf16(row[d])) : row[d];
    if (a.layout.type == KvType::int4)  // as its keys, but q . k must stay
        for (int64_t d = 0; d + kKvGroup <= keys_dim; d += kKvGroup) {
            rotate_group(q + d);
            for (int64_t i = d; i < d + kKvGroup; ++i) q[i] /= kKvGroup;
        }
    Reader cache{a, span, h / (a.heads / a.layout.heads)};
    int64_t end = span.start + t + 1;
    int64_t begin = a.window > 0 && end > a.window ? end - a.window : 0;
    auto seen = [&](int64_t s) { return s < a.sinks || s >= begin; };

    double largest = -INFINITY;
    for (int64_t s = 0; s < end; ++s) {
        if (!seen(s)) continue;
        double score = 0;
        for (int64_t d = 0; d < keys_dim; ++d) score += q[d] * cache.key(s, d);
        weights[s] = score * a.scale;
        if (a.cap) weights[s] = a.cap * std::tanh(weights[s] / a.cap);
        if (a.slopes) weights[s] -= double(a.slopes[h]) * double(end - 1 - s);
        largest = std::fmax(largest, weights[s]);
    }
    double sum = 0;
    if (a.sink_logits) {
        largest = std::fmax(largest, double(a.sink_logits[h]));
        sum = std::exp(a.sink_logits[h] - largest);
    }
    for (int64_t s = 0; s < end; ++s)
        if (seen(s)) sum += weights[s] = std::exp(weights[s] - largest);
    float* out = a.out + (span.row + t) * a.heads * D + h * D;
    for (int64_t d = 0; d < D; ++d) {
        double weighted = 0;
        for (int64_t s = 0; s < end; ++s)
            if (seen(s)) weighted += weights[s] * cache.value(s, d);
        out[d] = float(weighted / sum);
    }
}

}  // namespace

void attention(const AttentionArgs& a, Team& team) {
    int64_t longest = 0;
    for (int64_t i = 0; i < a.span_count; ++i)
        if (int64_t end = a.spans[i].start + a.spans[i].rows; end > longest) longest = end;
    append_step(a, team);
    team.sync();
    double* weights = reinterpret_cast<double*>(a.scratch) + team.index * longest;
    for (int64_t i = 0; i < a.span_count; ++i) {
        Range mine = share(a.spans[i].rows * a.heads, team);
        for (int64_t j = mine.begin; j < mine.end; ++j)
            attend(a, a.spans[i], j / a.heads, int(j % a.heads), weights);
    }
}

size_t attention_scratch_bytes(const KvLayout&, int, int64_t, int threads, int64_t max_context,
                               int64_t) {
    return sizeof(double) * size_t(threads) * size_t(max_context);
}
const char* attention_variant(KvType) {
    return "ref";
}

}  // namespace genfast::ref
