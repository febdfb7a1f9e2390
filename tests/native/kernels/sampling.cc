// sample and logprobs: the tokens are the reference's, but for what rounding of weights can change.
#include <algorithm>
#include <cmath>

#include "core/buffer.h"
#include "kernels/check.h"

namespace genfast {
namespace {

struct Settings {
    float temperature;
    int64_t top_k;
    float top_p, min_p;
};

int32_t draw_token(const Kernels& kernels, const Floats& logits, const Settings& s, double draw) {
    Buffer scratch(sample_scratch_bytes(int64_t(logits.size())));
    int32_t token = -2;
    run(kernels.sample, SampleArgs{logits.data(), scratch.data(), &token, int64_t(logits.size()),
                                   s.temperature, s.top_k, s.top_p, s.min_p, draw});
    return token;
}

// A float weight is off by the rounding of (logit - max) / temperature and 2 ulp of the
// exponential; so are its cumulated sums (on average over their terms), with 20 more for the
// additions. The draw's place moves with the draw and with the number kept, both by that much;
// there tokens whose weights differ by no more may stand in another order.
bool allowed(Check& c, const Floats& logits, const Settings& s, double draw, int32_t token) {
    double top = -INFINITY, sum = 0, mean = 0;
    for (float x : logits) top = std::max(top, double(x));
    for (float x : logits) {
        const double z = (x - top) / s.temperature;
        sum += std::exp(z);
        mean += z > -700 ? -z * std::exp(z) : 0;
    }
    const double shift = 2 * kEps * (2 * mean / sum + 25);
    auto reference = [&](double by) {
        Settings moved = s;
        if (s.top_p < 1) moved.top_p = float(std::min(1.0, s.top_p * (1 + by)));
        moved.min_p = float(s.min_p * (1 - by));
        return logits[size_t(draw_token(c.ref, logits, moved, std::min(draw * (1 + by), 1.0)))];
    };
    const double high = reference(-shift), low = reference(shift);
    const double blur = 2 * kEps * (2 * (top - low) + 5 * s.temperature);
    return token >= 0 && logits[size_t(token)] <= high + blur &&
           logits[size_t(token)] >= low - blur;
}

void check_sample(Check& c, int64_t V, double spread, bool ties) {
    const Settings all[] = {
        {0, 0, 1, 0},         {1, 0, 1, 0},     {0.7f, 1, 1, 0},       {1, 7, 1, 0},
        {1, 50, 0.9f, 0.02f}, {1, 1500, 1, 0},  {1.3f, 2000, 0.7f, 0}, {1, 0, 0.1f, 0},
        {0.8f, 0, 0.5f, 0},   {1, 0, 0.95f, 0}, {1, 0, 0.9999f, 0},    {1, 0, 1, 0.05f},
        {1, 0, 1, 1e-6f},     {1, 0, 1, 1},     {1, 0, 0.8f, 0.3f},    {1, 0, 0.6f, 0.001f}};
    Floats logits = c.numbers.floats(V, spread);
    for (float& x : logits) {
        if (ties) x = std::nearbyint(x * 10) / 10;
        if (V > 10 && c.numbers.integer(0, 99) == 0) x = -INFINITY;
    }
    for (const Settings& s : all)
        for (double draw : {0.0, c.numbers.unit(), 1 - 0x1p-53}) {
            const int32_t token = draw_token(c.fast, logits, s, draw);
            c.digest("sample", &token, sizeof token);
            const std::string what =
                cat("sample of ", V, ", temperature ", s.temperature, ", top_k ", s.top_k,
                    ", top_p ", s.top_p, ", min_p ", s.min_p, ", draw ", draw, ": ", token);
            // Greedy and small top_k work in the reference's own order and doubles.
            if (s.temperature == 0 || (s.top_k > 0 && s.top_k <= 1024))
                c.expect(token == draw_token(c.ref, logits, s, draw), what);
            else
                c.expect(allowed(c, logits, s, draw, token), what);
        }
}

void check_truncate(Check& c, int64_t V, double spread) {
    struct Filters {
        float top_n_sigma;
        int64_t top_k;
        float top_p, min_p, typical_p, xtc_threshold;
        double max_bits;
    };
    constexpr double all = INFINITY;
    const Filters filters[] = {
        {2, 0, 1, 0, 1, 1, all},         {0, 40, 0.9f, 0, 0.9f, 1, all},
        {0, 1500, 1, 0.001f, 1, 1, all}, {0, 0, 0.95f, 0, 0.9f, 1, all},
        {0, 0, 1, 0, 0.2f, 1, all},      {0, 0, 1, 0, 0.95f, 0.01f, all},
        {0, 0, 1, 0, 1, 0.0001f, all},   {0, 0, 1, 0, 1, 1, 11},
    };
    const Floats logits = c.numbers.floats(V, spread);
    auto left_of = [&](const Kernels& kernels, const Filters& f, double& log_sum) {
        Floats left = logits;
        Buffer scratch(truncate_scratch_bytes(V));
        int64_t kept = 0;
        run(kernels.truncate,
            TruncateArgs{left.data(), scratch.data(), &kept, &log_sum, V, 0.9f, f.top_n_sigma,
                         f.top_k, f.top_p, f.min_p, f.typical_p, f.xtc_threshold, f.max_bits});
        const int64_t finite =
            std::count_if(left.begin(), left.end(), [](float x) { return std::isfinite(x); });
        c.expect(kept == finite && kept > 0, cat("truncate of ", V, ": kept ", kept));
        return left;
    };
    for (const Filters& f : filters) {
        double got_sum = 0, want_sum = 0, differs = 0;
        const Floats got = left_of(c.fast, f, got_sum), want = left_of(c.ref, f, want_sum);
        c.digest("truncate", got);
        for (size_t i = 0; i < logits.size(); ++i)
            if (got[i] != want[i]) differs += std::exp(logits[i] / 0.9 - want_sum);
        // Rounded weights move a limit by some 1e-5 of the mass, and by a token there.
        c.expect(differs <= 1e-4 + 2.0 / double(V) && std::fabs(got_sum - want_sum) < 1e-3,
                 cat("truncate of ", V, ", top_n_sigma ", f.top_n_sigma, ", top_k ", f.top_k,
                     ", typical_p ", f.typical_p, ": ", differs, " of the mass differs"));
    }
}

void check_logprobs(Check& c, int64_t V, int64_t top_n) {
    Floats logits = c.numbers.floats(V, 3);
    if (V > 10) logits[size_t(V / 2)] = NAN;
    const int32_t token = int32_t(c.numbers.integer(0, V / 2 - 1 + V % 2));
    // The token's logprob, the entropy, the margin, then those of the top.
    auto ask = [&](const Kernels& kernels, std::vector<int32_t>& ids) {
        Buffer scratch(logprobs_scratch_bytes(V));
        Floats values(size_t(top_n) + 3);
        ids.resize(size_t(top_n));
        LogprobsArgs args{};
        args.logits = logits.data();
        args.scratch = scratch.data();
        args.token_logprob = values.data();
        args.entropy = values.data() + 1;
        args.margin = values.data() + 2;
        args.top_ids = ids.data();
        args.top_logprobs = values.data() + 3;
        args.V = V;
        args.top_n = top_n;
        args.token = token;
        run(kernels.logprobs, args);
        return values;
    };
    std::vector<int32_t> got_ids, want_ids;
    Floats got = ask(c.fast, got_ids), want = ask(c.ref, want_ids);
    c.same(cat("logprobs of ", V, ": ids"), got_ids, want_ids);
    // the error of ln(sum): that of the terms (z rounded, exp within 2 ulp; |z| <= 12) and of block
    // sums
    c.near(cat("logprobs of ", V), got, want,
           [&](size_t i) { return kEps * (12 + 25 + std::fabs(want[i]) + std::log(double(V))); });
    c.digest("logprobs", got);
    c.digest("logprobs", got_ids);
}

}  // namespace

void check_sampling(Check& c) {
    check_sample(c, 1, 1, false);
    check_sample(c, 65, 2, false);
    check_sample(c, c.numbers.integer(900, 1100), 3, true);
    check_sample(c, 8000, 0.05, false);
    check_sample(c, 8000, c.numbers.integer(1, 6), false);
    check_sample(c, 8000, 1, true);
    for (int64_t V : {1, 65, 1000, 8000})
        for (double spread : {0.3, 3.0}) check_truncate(c, V, spread);
    for (int64_t V : {1, 65, 1000, 8000}) check_logprobs(c, V, std::min<int64_t>(V, 20));
    check_logprobs(c, 3000, 1500);
}

}  // namespace genfast
