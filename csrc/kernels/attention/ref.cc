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
            a.layout.type, scale(a.layout.key_scales(page, head), token));
    }
    double value(int64_t token, int64_t d) const {
        int32_t page = span.pages[token / kPageTokens];
        return load_kv(a.cache + a.layout.values(page, head, d / a.layout.panel()) +
                           a.layout.value_element(token % kPageTokens, d),
                       a.layout.type, scale(a.layout.value_scales(page, head), token));
    }
    float scale(size_t offset, int64_t token) const {
        if (a.layout.type != KvType::int8) return 1;
        float x;
        std::memcpy(&x, a.cache + offset + token % kPageTokens * 4, 4);
        return x;
    }
};

void attend(const AttentionArgs& a, const SequenceSpan& span, int64_t t, int h, double* weights) {
    int64_t D = a.layout.head_dim, stride = (a.heads + 2 * a.layout.heads) * D;
    const float* row = a.qkv + (span.row + t) * stride + h * D;
    const bool round = a.layout.type == KvType::bf16;
    double q[kMaxHeadDim];
    for (int64_t d = 0; d < D; ++d) q[d] = round ? bf16_to_f32(f32_to_bf16(row[d])) : row[d];
    Reader cache{a, span, h / (a.heads / a.layout.heads)};
    int64_t end = span.start + t + 1;
    int64_t begin = a.window > 0 && end > a.window ? end - a.window : 0;

    double largest = -INFINITY;
    for (int64_t s = begin; s < end; ++s) {
        double score = 0;
        for (int64_t d = 0; d < D; ++d) score += q[d] * cache.key(s, d);
        weights[s - begin] = score * a.scale;
        largest = std::fmax(largest, weights[s - begin]);
    }
    double sum = 0;
    for (int64_t s = begin; s < end; ++s)
        sum += weights[s - begin] = std::exp(weights[s - begin] - largest);
    float* out = a.out + (span.row + t) * a.heads * D + h * D;
    for (int64_t d = 0; d < D; ++d) {
        double weighted = 0;
        for (int64_t s = begin; s < end; ++s) weighted += weights[s - begin] * cache.value(s, d);
        out[d] = float(weighted / sum);
    }
}

}  // namespace

void attention(const AttentionArgs& a, Team& team) {
    int64_t D = a.layout.head_dim, stride = (a.heads + 2 * a.layout.heads) * D, longest = 0;
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        if (span.start + span.rows > longest) longest = span.start + span.rows;
        Range mine = share(span.rows * a.layout.heads, team);
        for (int64_t j = mine.begin; j < mine.end; ++j) {
            int64_t t = j / a.layout.heads, position = span.start + t;
            int head = int(j % a.layout.heads);
            const float* k = a.qkv + (span.row + t) * stride + (a.heads + head) * D;
            append_token(a.cache, a.layout, span.pages[position / kPageTokens],
                         position % kPageTokens, head, k, k + a.layout.heads * D);
        }
    }
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
