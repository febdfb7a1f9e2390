// attention over the paged cache: decode, prefill and window, with each type of cache.
#include <algorithm>
#include <cmath>

#include "core/buffer.h"
#include "kernels/check.h"

// append.h belongs to whoever includes it: kernels compile it once per instruction set.
#define GENFAST_ISA caches
#include "kernels/attention/append.h"

namespace genfast {
namespace {

struct Case {
    KvType type;
    int64_t T, past;
    int heads, kv_heads, head_dim;
    int64_t window, sinks = 0;
};

// One sequence in a cache of its own, whose pages lie anywhere.
struct Sequence {
    Case shape;
    KvLayout layout;
    Floats qkv, sink_logits;
    std::vector<int32_t> pages;
    std::vector<std::byte> past;  // the cache before the step

    Sequence(Numbers& numbers, const Case& shape)
        : shape(shape), layout{shape.type, shape.kv_heads, shape.head_dim} {
        const int64_t S = shape.past + shape.T, count = (S + kPageTokens - 1) / kPageTokens;
        for (int32_t i = 0; i < count; ++i) pages.push_back(i);
        for (int64_t i = count - 1; i > 0; --i)
            std::swap(pages[size_t(i)], pages[size_t(numbers.integer(0, i))]);
        // All bits set: no number, if anybody reads what was never written.
        past.resize(size_t((count + kRunPages - 1) / kRunPages) * layout.run_bytes(),
                    std::byte(255));
        const int64_t D = shape.head_dim;
        for (int64_t t = 0; t < shape.past; ++t)
            for (int head = 0; head < shape.kv_heads; ++head) {
                Floats kv = numbers.floats(2 * D);
                caches::append_token(past.data(), layout, pages[size_t(t / kPageTokens)],
                                     t % kPageTokens, head, kv.data(), kv.data() + D);
            }
        if (numbers.integer(0, 1)) sink_logits = numbers.floats(shape.heads);
        qkv = numbers.floats(shape.T * columns());
        for (int64_t t = 0; t < shape.T; ++t)  // queries a little larger: peaked weights
            for (int64_t i = 0; i < shape.heads * D; ++i) qkv[size_t(t * columns() + i)] *= 3;
    }
    int64_t columns() const { return (shape.heads + 2 * shape.kv_heads) * shape.head_dim; }
    float scale() const { return 1 / std::sqrt(float(shape.head_dim)); }

    // The step in chunks of so many tokens; `cache` becomes what they leave.
    Floats attend(const Kernels& kernels, int threads, int64_t chunk,
                  std::vector<std::byte>& cache) const {
        cache = past;
        Floats out(size_t(shape.T * shape.heads * shape.head_dim));
        for (int64_t t = 0; t < shape.T; t += chunk) {
            const int64_t now = std::min(chunk, shape.T - t), start = shape.past + t;
            SequenceSpan span{0, now, start, pages.data()};
            Buffer scratch(
                kernels.attention_scratch_bytes(layout, shape.heads, now, threads, start + now, 1));
            AttentionArgs args{qkv.data() + t * columns(),
                               out.data() + t * shape.heads * shape.head_dim,
                               cache.data(),
                               layout,
                               &span,
                               scratch.data(),
                               1,
                               now,
                               shape.heads,
                               scale(),
                               shape.window,
                               shape.sinks};
            if (!sink_logits.empty()) args.sink_logits = sink_logits.data();
            args.context = start + now;
            run(kernels.attention, args, threads);
        }
        return out;
    }
};

// What rounding may do to the D outputs of a row, from the definition in double.
std::vector<double> row_bounds(const Sequence& s, const std::vector<std::byte>& cache, int64_t t,
                               int head) {
    const Case& shape = s.shape;
    const KvLayout& layout = s.layout;
    const int64_t D = shape.head_dim, end = shape.past + t + 1;
    const int64_t begin = shape.window && end > shape.window ? end - shape.window : 0;
    const int kv_head = head / (shape.heads / shape.kv_heads);
    const float* q = s.qkv.data() + t * s.columns() + head * D;
    // An int4 cache's keys are rotated: so are the queries here, by their inverse.
    const int64_t keys_dim = shape.type == KvType::int4 ? layout.stored_dim() : D;
    std::vector<double> query(size_t(layout.stored_dim()), 0.0);
    std::copy_n(q, D, query.begin());
    if (shape.type == KvType::int4)
        for (int64_t d = 0; d + caches::kKvGroup <= keys_dim; d += caches::kKvGroup) {
            caches::rotate_group(query.data() + d);
            for (int64_t i = d; i < d + caches::kKvGroup; ++i) query[size_t(i)] /= caches::kKvGroup;
        }
    auto load = [&](bool value, int64_t token, int64_t d) {
        const int32_t page = s.pages[size_t(token / kPageTokens)];
        const int64_t slot = token % kPageTokens;
        float scale = 1;
        if (has_token_scales(shape.type))
            std::memcpy(
                &scale,
                cache.data() + slot * 4 +
                    (value ? layout.value_scales(page, kv_head) : layout.key_scales(page, kv_head)),
                4);
        if (shape.type == KvType::int4) {
            uint16_t half;
            std::memcpy(
                &half,
                cache.data() + (d / caches::kKvGroup * kPageTokens + slot) * 2 +
                    (value ? layout.value_scales(page, kv_head) : layout.key_scales(page, kv_head)),
                2);
            scale = f16_to_f32(half);
        }
        const size_t at = value ? layout.values(page, kv_head, d / layout.panel()) +
                                      size_t(layout.value_element(slot, d))
                                : layout.keys(page, kv_head) + size_t(layout.key_element(slot, d));
        return double(caches::load_kv(cache.data() + at, shape.type, value ? slot : d, scale));
    };
    std::vector<double> weights;
    std::vector<int64_t> tokens;
    double magnitude = 0, keys = 0, largest_query = 0, top = -INFINITY, sum = 0;
    for (double x : query) largest_query = std::max(largest_query, std::fabs(x));
    for (int64_t token = 0; token < end; ++token) {
        if (token < begin && token >= shape.sinks) continue;
        tokens.push_back(token);
        double score = 0, size = 0, key_size = 0;
        for (int64_t d = 0; d < keys_dim; ++d) {
            const double k = load(false, token, d);
            score += query[size_t(d)] * k;
            size += std::fabs(query[size_t(d)] * k);
            key_size += std::fabs(k);
        }
        magnitude = std::max(magnitude, size * s.scale());
        keys = std::max(keys, key_size * s.scale());
        weights.push_back(score * s.scale());
        top = std::max(top, weights.back());
    }
    const double sink = s.sink_logits.empty() ? -INFINITY : s.sink_logits[size_t(head)];
    top = std::max(top, sink);
    sum = std::exp(sink - top);
    for (double& w : weights) sum += w = std::exp(w - top);

    // A score is a chain of D fma: off by D eps/2 of its sum of magnitudes, and so, relatively, is
    // its weight (twice: the maximum's score is off too). exp2 and the sums add a few eps, each
    // chain of up to 512 weights and the merges the rest.
    const double n = double(weights.size());
    const double chain = std::min(n, 512.0) / 2 + n / 512 + 8;
    double relative = kEps * ((double(D) + 4) * magnitude + 2 * chain);
    if (!s.sink_logits.empty()) relative += kEps * (2 * std::fabs(sink) + 8);
    const bool fixed = shape.type == KvType::int8 || shape.type == KvType::int4;
    if (fixed) relative += largest_query / 32512 * keys;  // half a unit, twice
    // Queries are rounded alike by all kernels; weights are rounded to eight significant bits.
    if (shape.type == KvType::bf16) relative += 0x1p-8;
    if (shape.type != KvType::f32) relative += 2 * 3e-6;  // a shorter polynomial for 2^x
    std::vector<double> bound(size_t(D), 1e-30);
    double largest = 0;  // weight times value
    for (int64_t d = 0; d < D; ++d)
        for (size_t i = 0; i < weights.size(); ++i) {
            const double product = weights[i] / sum * std::fabs(load(true, tokens[i], d));
            bound[size_t(d)] += relative * product;
            largest = std::max(largest, product);
        }
    if (fixed)  // half a unit of the largest in every product; int4: 8 for its 7 at least
        for (double& b : bound) b += n * 0.5 * 8 / 7 * largest / 32512;
    return bound;
}

// Tokens that a row does not see may hold anything.
void check_not_seen(Check& c, KvType type, const char* kind) {
    Sequence s(c.numbers, {type, c.numbers.integer(20, 40), c.numbers.integer(0, 60), 4, 2, 20, 0});
    std::vector<std::byte> cache;
    const Floats want = s.attend(c.fast, 1, s.shape.T, cache);
    const int64_t t = c.numbers.integer(1, s.shape.T - 1);
    float* row = s.qkv.data() + t * s.columns() + s.shape.heads * s.shape.head_dim;
    const int64_t d = c.numbers.integer(0, 2 * s.shape.kv_heads * s.shape.head_dim - 1);
    row[d] = c.numbers.integer(0, 1) ? INFINITY : NAN;
    const Floats got = s.attend(c.fast, 1, s.shape.T, cache);
    const auto end = want.begin() + t * s.shape.heads * s.shape.head_dim;
    c.same(cat(kind, ", row ", t, " is not finite: rows before it"),
           Floats(got.begin(), got.begin() + (end - want.begin())), Floats(want.begin(), end));
    c.same(cat(kind, ", row ", t, " is not finite: in chunks"), s.attend(c.fast, 1, 7, cache), got);
}

// Sequences of one step, each as alone: some decode, some are in the midst of their prompt.
void check_together(Check& c, KvType type, const char* kind) {
    std::vector<Sequence> sequences;
    std::vector<SequenceSpan> spans;
    std::vector<std::byte> cache;
    Floats qkv, want;
    for (int64_t T : {int64_t(1), c.numbers.integer(2, 40), int64_t(1), c.numbers.integer(2, 9)}) {
        Sequence s(c.numbers, {type, T, c.numbers.integer(0, 90), 6, 2, 12, 0});
        s.sink_logits.clear();
        std::vector<std::byte> alone;
        const Floats out = s.attend(c.fast, 1, T, alone);
        want.insert(want.end(), out.begin(), out.end());
        for (int32_t& page : s.pages)
            page += int32_t(cache.size() / s.layout.run_bytes() * kRunPages);
        spans.push_back({int64_t(qkv.size()) / s.columns(), T, s.shape.past, nullptr});
        cache.insert(cache.end(), s.past.begin(), s.past.end());
        qkv.insert(qkv.end(), s.qkv.begin(), s.qkv.end());
        sequences.push_back(std::move(s));
    }
    const Sequence& s = sequences[0];
    for (size_t i = 0; i < spans.size(); ++i) spans[i].pages = sequences[i].pages.data();
    const int64_t T = int64_t(qkv.size()) / s.columns(), context = 130;
    const int64_t count = int64_t(spans.size());
    Buffer scratch(c.fast.attention_scratch_bytes(s.layout, s.shape.heads, T, 1, context, count));
    Floats got(want.size());
    AttentionArgs args{qkv.data(),
                       got.data(),
                       cache.data(),
                       s.layout,
                       spans.data(),
                       scratch.data(),
                       count,
                       T,
                       s.shape.heads,
                       s.scale(),
                       0,
                       0};
    args.context = context;
    run(c.fast.attention, args);
    c.same(cat(kind, ": sequences of one step, each as alone"), got, want);
}

void check_case(Check& c, const std::string& kind, const Case& shape) {
    const std::string what = cat(kind, ", T ", shape.T, ", past ", shape.past, ", heads ",
                                 shape.heads, "/", shape.kv_heads, ", D ", shape.head_dim,
                                 ", window ", shape.window, ", sinks ", shape.sinks);
    Sequence s(c.numbers, shape);
    std::vector<std::byte> cache, ref_cache;
    Floats got = s.attend(c.fast, 2, shape.T, cache);
    Floats want = s.attend(c.ref, 1, shape.T, ref_cache);
    c.same(cat(what, ": caches"), cache, ref_cache);
    std::vector<double> bound;
    for (int64_t t = 0; t < shape.T; ++t)
        for (int head = 0; head < shape.heads; ++head)
            for (double b : row_bounds(s, cache, t, head)) bound.push_back(b);
    c.near(what, got, want, [&](size_t i) { return bound[i] + kEps * std::fabs(want[i]); });
    c.digest(kind, got);
    c.same(cat(what, ": one thread"), s.attend(c.fast, 1, shape.T, cache), got);
    c.same(cat(what, ": in chunks"), s.attend(c.fast, 3, 7, cache), got);
}

}  // namespace

void check_attention(Check& c) {
    const std::pair<KvType, const char*> types[] = {{KvType::f32, "attention f32"},
                                                    {KvType::bf16, "attention bf16"},
                                                    {KvType::int8, "attention int8"},
                                                    {KvType::int4, "attention int4"},
                                                    {KvType::fp8, "attention fp8"}};
    const int64_t windows[] = {1, 31, 100, 512};
    for (auto [type, kind] : types) {
        if (c.fast.attention_variant(type) == std::string("none")) continue;
        check_case(c, kind, {type, 1, c.numbers.integer(0, 1200), 9, 3, 64, 0});
        check_case(c, kind, {type, 1, c.numbers.integer(0, 600), 2, 2, 1, 0});
        check_case(c, kind, {type, 1, c.numbers.integer(500, 520), 5, 1, 128, 0});
        check_case(c, kind,
                   {type, c.numbers.integer(2, 40), c.numbers.integer(0, 40), 4, 2, 16, 0});
        check_case(c, kind,
                   {type, c.numbers.integer(14, 30), c.numbers.integer(495, 515), 6, 2,
                    int(c.numbers.integer(1, 80)), 0});
        check_case(c, kind,
                   {type, c.numbers.integer(1, 30), c.numbers.integer(0, 700), 4, 2, 24,
                    windows[c.numbers.integer(0, 3)]});
        check_case(c, kind,
                   {type, c.numbers.integer(1, 30), c.numbers.integer(0, 700), 4, 2, 40,
                    windows[c.numbers.integer(0, 3)], c.numbers.integer(1, 32)});
        check_case(c, kind, {type, 3, 20, 2, 1, 256, 0});
        check_case(c, kind,
                   {type, c.numbers.integer(65, 140), c.numbers.integer(0, 40), 4, 2, 32, 0});
        check_case(c, kind,
                   {type, c.numbers.integer(1, 2), c.numbers.integer(0, 40), 41, 1, 16, 0});
        check_not_seen(c, type, kind);
        check_together(c, type, kind);
    }
}

}  // namespace genfast
