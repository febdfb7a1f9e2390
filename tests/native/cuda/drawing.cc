// draw_rows beside the CPU's `sample`: the same tokens from the same logits, or none.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>

#include "core/buffer.h"
#include "kernels/check.h"
#include "kernels/sample/draw_rows.h"

namespace genfast {
namespace cuda {
void draw_rows(const DrawRowsArgs& args);
size_t draw_rows_scratch_bytes(int64_t rows);
}  // namespace cuda
namespace {

struct Settings {
    float temperature;
    int64_t top_k;
    float top_p, min_p;
};

constexpr Settings kSettings[] = {
    {0, 0, 1, 0},           {1, 0, 1, 0},          {0.7f, 1, 1, 0},         {1, 7, 1, 0},
    {1, 50, 0.9f, 0.02f},   {0.9f, 1024, 1, 0},    {1, 1000, 0.95f, 0.01f}, {1, 0, 0.1f, 0},
    {0.8f, 0, 0.5f, 0},     {1, 0, 0.9f, 0},       {1, 0, 0.9999f, 0},      {1, 0, 1, 0.05f},
    {1, 0, 1, 1e-6f},       {1, 0, 1, 1},          {1, 0, 0.8f, 0.3f},      {1, 0, 0.6f, 0.001f},
    {1e-3f, 0, 0.9f, 0.1f}, {1e-38f, 20, 0.9f, 0}, {40, 0, 0.9f, 0},        {1, 2000, 0.9f, 0}};

int32_t sampled(const Kernels& kernels, const float* logits, int64_t V, const Settings& s,
                double draw) {
    Buffer scratch(sample_scratch_bytes(V));
    int32_t token = -3;
    run(kernels.sample, SampleArgs{logits, scratch.data(), &token, V, s.temperature, s.top_k,
                                   s.top_p, s.min_p, draw});
    return token;
}

std::vector<DrawnRow> drawn(const Floats& logits, int64_t V, const std::vector<RowDraw>& how,
                            ToldRow* told = nullptr) {
    const int64_t rows = std::ssize(how);
    Buffer scratch(cuda::draw_rows_scratch_bytes(rows));
    std::memset(scratch.data(), 0xa5, scratch.size());  // of the step before
    std::vector<DrawnRow> result(size_t(rows), DrawnRow{0, -3});
    cuda::draw_rows({logits.data(), how.data(), result.data(), told, scratch.data(), rows, V});
    return result;
}

// One row by every setting and several draws; returns the share of what was left to the CPU.
double check_row(Check& c, const std::string& kind, const Floats& row) {
    const int64_t V = std::ssize(row);
    std::vector<RowDraw> how;
    std::vector<int32_t> want;
    std::vector<std::string> names;
    Floats logits;
    for (const Settings& s : kSettings)
        for (double draw : {0.0, c.numbers.unit(), c.numbers.unit(), 1 - 0x1p-53}) {
            const int64_t k = std::min(s.top_k, V);
            how.push_back(row_draw(V, s.temperature, k, s.top_p, s.min_p, draw));
            want.push_back(
                sampled(c.fast, row.data(), V, {s.temperature, k, s.top_p, s.min_p}, draw));
            names.push_back(cat(kind, ": draw_rows of ", V, ", temperature ", s.temperature,
                                ", top_k ", k, ", top_p ", s.top_p, ", min_p ", s.min_p, ", draw ",
                                draw));
            logits.insert(logits.end(), row.begin(), row.end());
        }
    const std::vector<DrawnRow> got = drawn(logits, V, how);
    double unsure = 0, asked = 0;
    for (size_t i = 0; i < got.size(); ++i) {
        if (how[i].way == Way::none) {
            c.expect(got[i].token == -3, cat(names[i], ": not asked for"));
            continue;
        }
        ++asked;
        unsure += got[i].token == kUnsure;
        c.expect(got[i].token == kUnsure || got[i].token == want[i],
                 cat(names[i], ": ", got[i].token, ", must be ", want[i]));
        c.expect(got[i].digest == digest_row(row.data(), V), cat(names[i], ": digest"));
        // Alone, as in a batch.
        const size_t other = size_t(c.numbers.integer(0, std::ssize(got) - 1));
        if (i % 16 == 0 && how[other].way != Way::none)
            c.expect(drawn(row, V, {how[other]})[0].token == got[other].token,
                     cat(names[other], ": alone"));
    }
    return unsure / asked;
}

// What is told beside a draw: the reference's ids, and its logprobs but for rounding.
void check_told(Check& c, const std::string& kind, const Floats& row) {
    const int64_t V = std::ssize(row);
    std::vector<RowDraw> how;
    Floats logits;
    for (int told : {0, 1, 5, kMostTold})
        for (int64_t top_k : {int64_t(0), std::min<int64_t>(V, 40)}) {
            how.push_back(row_draw(V, 0.9f, top_k, 1, 0, c.numbers.unit()));
            how.back().told = int32_t(std::min<int64_t>(told, V));
            logits.insert(logits.end(), row.begin(), row.end());
        }
    how.push_back(row_draw(V, 0, 0, 1, 0, 0));  // and one of which nothing is told
    logits.insert(logits.end(), row.begin(), row.end());
    std::vector<ToldRow> told(how.size());
    const std::vector<DrawnRow> got = drawn(logits, V, how, told.data());
    int64_t answers = 0;
    for (size_t i = 0; i + 1 < how.size(); ++i) {
        if (got[i].token < 0) continue;
        ++answers;
        const int64_t n = how[i].told;
        std::vector<int32_t> ids(size_t(n), -1);
        Floats values(size_t(n) + 3);
        Buffer scratch(logprobs_scratch_bytes(V));
        run(c.ref.logprobs,
            LogprobsArgs{row.data(), scratch.data(), &values[0], &values[1], &values[2], ids.data(),
                         values.data() + 3, V, n, got[i].token});
        ids.resize(
            size_t(std::count_if(ids.begin(), ids.end(), [](int32_t id) { return id >= 0; })));
        values.resize(ids.size() + 3);
        const std::string what = cat("told ", n, " of ", V, " ", kind);
        const ToldRow& t = told[i];
        c.same(cat(what, ": ids"), std::vector<int32_t>(t.ids, t.ids + t.count), ids);
        Floats all{t.logprob, t.entropy, t.margin};
        all.insert(all.end(), t.logprobs, t.logprobs + t.count);
        // The terms' (z rounded, exp within 2 ulp), then one rounding.
        c.near(what, all, values, [&](size_t j) { return kEps * (37 + std::fabs(values[j])); });
        ToldRow alone{};
        if (drawn(row, V, {how[i]}, &alone)[0].token == got[i].token)
            c.expect(!std::memcmp(&alone, &t, offsetof(ToldRow, ids)), cat(what, ": alone"));
        else
            c.expect(false, cat(what, ": drawn alone"));
    }
    c.expect(answers >= 2, cat("told of ", V, " ", kind, ": ", answers, " answers"));
}

}  // namespace

void check_drawing(Check& c) {
    auto row_of = [&](int64_t V, double spread) { return c.numbers.floats(V, spread); };
    // Like a language model's: a bulk, and few that stand out by more and more.
    auto peaked = [&](int64_t V) {
        Floats row = row_of(V, 2);
        for (int i = 0; i < 40; ++i) row[size_t(c.numbers.integer(0, V - 1))] = float(4 + 0.2 * i);
        return row;
    };
    check_row(c, "one", {float(c.numbers.unit())});
    check_row(c, "few", row_of(c.numbers.integer(2, 40), 3));
    check_row(c, "flat", row_of(5001, 0.05));
    check_row(c, "wide", row_of(c.numbers.integer(2000, 2100), 8));
    double unsure = check_row(c, "peaked", peaked(c.numbers.integer(20000, 40000)));
    c.expect(unsure < 0.5, cat(unsure, " of peaked rows left to the CPU"));
    Floats row = peaked(4111);
    for (float& x : row) x = std::nearbyint(x * 4) / 4;
    check_row(c, "ties", row);
    for (float& x : row)
        if (c.numbers.integer(0, 9) == 0) x = -INFINITY;
    row[7] = NAN;
    row[9] = -0.0f;
    check_row(c, "holes", row);
    row[size_t(c.numbers.integer(10, 4110))] = INFINITY;
    row[size_t(c.numbers.integer(10, 4110))] = INFINITY;
    check_row(c, "infinite", row);
    check_told(c, "one", {float(c.numbers.unit())});
    check_told(c, "few", row_of(c.numbers.integer(2, 40), 3));
    check_told(c, "wide", row_of(c.numbers.integer(2000, 2100), 8));
    check_told(c, "peaked", peaked(c.numbers.integer(20000, 40000)));
    Floats some = peaked(4111);
    for (float& x : some) x = std::nearbyint(x * 4) / 4;
    for (float& x : some)
        if (c.numbers.integer(0, 9) == 0) x = -INFINITY;
    some[7] = NAN;
    check_told(c, "ties and holes", some);
    check_row(c, "equal", Floats(3000, 0.5f));
    check_row(c, "nothing", Floats(100, -INFINITY));
    check_row(c, "negative", Floats(130, -1e30f));
}

}  // namespace genfast
