#include <cmath>
#include <vector>

#include "kernels/latent_attention/rows.h"
#include "kernels/table.h"

namespace genfast::ref {
namespace {

void attend(const LatentArgs& a, const SequenceSpan& span, int64_t t, int64_t h) {
    const int64_t R = a.layout.latent, D = a.layout.head_dim, P = D - R, end = span.start + t + 1;
    const int64_t begin = a.window > 0 && end > a.window ? end - a.window : 0;
    const float* q = a.q + ((span.row + t) * a.heads + h) * R;
    const float* turned = a.turned + (span.row + t) * a.columns + h * P;
    std::vector<double> weights(static_cast<size_t>(end)), sum(static_cast<size_t>(R));
    std::vector<float> row(static_cast<size_t>(D));
    auto seen = [&](int64_t s) { return s < a.sinks || s >= begin; };
    auto load = [&](int64_t s) {
        load_row(a, span.pages[s / kPageTokens], s % kPageTokens, row.data());
    };

    double largest = -INFINITY, total = 0;
    for (int64_t s = 0; s < end; ++s) {
        if (!seen(s)) continue;
        load(s);
        double score = 0;
        for (int64_t d = 0; d < D; ++d)
            score += double(d < R ? q[d] : turned[d - R]) * row[size_t(d)];
        weights[size_t(s)] = score * a.scale;
        largest = std::fmax(largest, weights[size_t(s)]);
    }
    for (int64_t s = 0; s < end; ++s) {
        if (!seen(s)) continue;
        load(s);
        const double weight = std::exp(weights[size_t(s)] - largest);
        total += weight;
        for (int64_t d = 0; d < R; ++d) sum[size_t(d)] += weight * row[size_t(d)];
    }
    float* out = a.out + ((span.row + t) * a.heads + h) * R;
    for (int64_t d = 0; d < R; ++d) out[d] = float(sum[size_t(d)] / total);
}

}  // namespace

void latent_attention(const LatentArgs& a, Team& team) {
    append_rows(a, team);
    team.sync();
    for (int64_t i = 0; i < a.span_count; ++i) {
        Range mine = share(a.spans[i].rows * a.heads, team);
        for (int64_t j = mine.begin; j < mine.end; ++j)
            attend(a, a.spans[i], j / a.heads, j % a.heads);
    }
}

size_t latent_attention_scratch_bytes(const LatentArgs&, int, int64_t) {
    return 0;
}

}  // namespace genfast::ref
