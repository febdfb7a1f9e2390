// The C++ core without Python, for the sanitizers: many threads submit, wait and cancel on an
// engine that runs a small random model; every answer must be the one the request gets alone.
#include "selftest.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "engine/engine.h"
#include "engine/tap.h"
#include "kernels/dispatch.h"

namespace genfast {

static int failures = 0;

void expect(bool condition, const std::string& what) {
    if (condition) return;
    std::fprintf(stderr, "FAILED: %s\n", what.c_str());
    ++failures;
}

namespace {

constexpr int64_t kVocabulary = 61, kHidden = 32, kHeads = 4, kKvHeads = 2, kHeadDim = 8;

std::vector<float> noise(uint64_t seed, int64_t count, float scale) {
    std::vector<float> numbers(static_cast<size_t>(count));
    for (size_t i = 0; i < numbers.size(); ++i)
        numbers[i] = float(uniform(seed, 0, i) * 2 - 1) * scale;
    return numbers;
}

ValueId weight(Program& program, uint64_t seed, Format format, int64_t rows, int64_t cols) {
    ThreadPool pool(2);
    std::vector<float> numbers = noise(seed, rows * cols, 0.4f);
    WeightSource source{numbers.data(), DType::f32, rows, cols, false};
    auto packed = std::make_shared<PackedMatrix>(PackedMatrix::pack(format, {source}, false, pool));
    return program.matrix(cat("w", seed), packed);
}

std::shared_ptr<Program> small_model(Format format) {
    auto p = std::make_shared<Program>();
    ValueId ones = p->constant("ones", std::vector<float>(kHidden, 1.0f), 1, kHidden);
    ValueId frequencies = p->constant("inv_freq", {1.0f, 0.5f, 0.1f, 0.01f}, 1, 4);
    ValueId table = weight(*p, 1, format, kVocabulary, kHidden);
    ValueId angles = p->append("rope_table", {p->positions(), frequencies}, {}, "angles", "");
    ValueId x = p->append("embed", {p->token_ids(), table}, {}, "x", "");
    for (uint64_t layer = 0; layer < 2; ++layer) {
        std::string name = cat("l", layer, ".");
        int64_t qkv_rows = (kHeads + 2 * kKvHeads) * kHeadDim;
        ValueId h = p->append("rms_norm", {x, ones}, {{"eps", 1e-5}}, name + "norm", "");
        h = p->append("matmul", {h, weight(*p, 10 + layer, format, qkv_rows, kHidden)}, {},
                      name + "qkv", "");
        h = p->append("rope", {h, angles}, {{"heads", kHeads + kKvHeads}, {"head_dim", kHeadDim}},
                      name + "rope", "");
        h = p->append("attention", {h},
                      {{"heads", kHeads},
                       {"kv_heads", kKvHeads},
                       {"head_dim", kHeadDim},
                       {"scale", 0.35},
                       {"layer", int64_t(layer)}},
                      name + "attention", "");
        x = p->append("matmul",
                      {h, weight(*p, 20 + layer, format, kHidden, kHeads * kHeadDim), -1, x}, {},
                      name + "out", "");
        h = p->append("matmul", {x, weight(*p, 30 + layer, format, 2 * 40, kHidden)}, {},
                      name + "up", "");
        h = p->append("swiglu", {h}, {}, name + "swiglu", "");
        x = p->append("matmul", {h, weight(*p, 40 + layer, format, kHidden, 40), -1, x}, {},
                      name + "down", "");
    }
    x = p->append("output_rows", {x}, {}, "rows", "");
    p->set_output(p->append("matmul", {x, table}, {}, "logits", ""));
    return p;
}

RequestSpec random_request(uint64_t seed) {
    RequestSpec spec;
    int64_t length = 1 + int64_t(uniform(seed, 1, 0) * 70);
    for (int64_t i = 0; i < length; ++i)
        spec.prompt.push_back(int32_t(uniform(seed, 2, uint64_t(i)) * kVocabulary));
    spec.max_tokens = 1 + int64_t(uniform(seed, 3, 0) * 20);
    spec.sampling.temperature = seed % 2 ? 0.8f : 0.0f;
    spec.sampling.top_p = 0.9f;
    spec.sampling.seed = seed;
    return spec;
}

std::vector<int32_t> answer(Engine& engine, uint64_t seed) {
    auto request = engine.submit(random_request(seed));
    while (!request->wait(INT64_MAX, 1.0)) {
    }
    std::lock_guard lock(request->mutex);
    expect(request->error.empty(), request->error);
    return request->tokens;
}

void engine_under_load(Format format, KvType kv, const std::string& isa) {
    auto program = small_model(format);
    std::vector<KvLayout> layouts(2, KvLayout{kv, int(kKvHeads), int(kHeadDim)});
    EngineOptions options;
    options.threads = 2;
    options.isa = isa;
    options.kv_pages = 32;  // few enough that requests wait and are preempted
    options.step_tokens = 48;
    options.sequences = 6;
    options.context = 128;
    options.vocabulary = kVocabulary;
    Engine engine(program, layouts, options);

    constexpr uint64_t kRequests = 24;
    std::vector<std::vector<int32_t>> alone;
    for (uint64_t seed = 0; seed < kRequests; ++seed) alone.push_back(answer(engine, seed));
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            for (uint64_t seed = t; seed < kRequests; seed += 4) {
                auto doomed = engine.submit(random_request(1000 + seed));
                if (answer(engine, seed) != alone[seed]) ++wrong;
                engine.cancel(*doomed);
            }
        });
    for (auto& thread : threads) thread.join();
    expect(wrong == 0, cat("answers under load differ from those alone, isa ", isa));
    auto last = engine.submit(random_request(7));
    engine.close();
    expect(last->wait(INT64_MAX, 5), "closing leaves no request unfinished");
    expect(engine.stats()["kv_pages"] == 32, "stats");
}

// A hundred threads with twenty requests each, of random lengths, priorities and deadlines; some
// are cancelled, some cannot be served. Whatever becomes of the others, each gets its own answer.
void crowd_of_callers() {
    constexpr uint64_t kThreads = 100, kRequests = 20, kKinds = 40;
    std::vector<KvLayout> layouts(2, KvLayout{KvType::bf16, int(kKvHeads), int(kHeadDim)});
    EngineOptions options;
    options.threads = 2;
    options.kv_pages = 48;
    options.step_tokens = 64;
    options.sequences = 12;
    options.context = 128;
    options.vocabulary = kVocabulary;
    Engine engine(small_model(Format::int8), layouts, options);
    std::vector<std::vector<int32_t>> alone;
    for (uint64_t kind = 0; kind < kKinds; ++kind) alone.push_back(answer(engine, kind));

    std::atomic<uint64_t> wrong{0}, ended{0};
    auto ask = [&](uint64_t id) {
        uint64_t kind = id * 7 % kKinds;
        RequestSpec spec = random_request(kind);
        spec.priority = int64_t(id % 3);
        uint64_t fate = id % 10;
        if (fate == 0) spec.prompt.push_back(kVocabulary);  // cannot be served
        if (fate == 1) spec.deadline = Clock::now() + std::chrono::milliseconds(id % 40);
        std::shared_ptr<Request> request;
        try {
            request = engine.submit(spec);
        } catch (const std::exception&) {
            wrong += fate > 1;
            ++ended;
            return;
        }
        if (fate == 2) engine.cancel(*request);
        while (!request->wait(INT64_MAX, 1.0)) {
        }
        std::lock_guard lock(request->mutex);
        const std::vector<int32_t>& tokens = request->tokens;
        bool begins = tokens.size() <= alone[kind].size() &&
                      std::equal(tokens.begin(), tokens.end(), alone[kind].begin());
        bool complete = tokens.size() == alone[kind].size();
        if (!begins || (fate > 2 && !complete) || fate == 0) ++wrong;
        ++ended;
    };
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            for (uint64_t i = 0; i < kRequests; ++i) ask(t * kRequests + i);
        });
    for (auto& thread : threads) thread.join();
    expect(wrong == 0, cat(wrong.load(), " of a crowd's answers are wrong"));
    expect(ended == kThreads * kRequests, "nobody's request is lost");
    expect(engine.stats()["kv_pages_used"] == 0, "a crowd leaves no page behind");
}

void bad_input() {
    auto program = std::make_shared<Program>();
    auto refused = [&](auto&& act) {
        try {
            act();
        } catch (const std::invalid_argument&) {
            return true;
        }
        return false;
    };
    expect(refused([&] { program->append("no_such_op", {}, {}, "x", ""); }), "unknown op");
    expect(refused([&] { program->append("rms_norm", {0, 99}, {}, "x", ""); }), "unknown value");
    expect(refused([&] { program->append("rms_norm", {0, 1}, {}, "x", ""); }), "wrong kinds");
    expect(refused([&] { program->set_output(0); }), "not an output");
}

}  // namespace
}  // namespace genfast

int main() {
    using namespace genfast;
    bad_input();
    threads();
    scratch();
    kv_cache();
    state_cache();
    crowd_of_callers();
    amx_tiles();
    amx_attention();
    amx_conv2d();
    for (const std::string& isa : available_isas()) {
        engine_under_load(Format::f32, KvType::f32, isa);
        engine_under_load(Format::bf16, KvType::bf16, isa);
        engine_under_load(Format::int8, KvType::int8, isa);
        engine_under_load(Format::int4, KvType::bf16, isa);
        engine_under_load(Format::int8, KvType::int4, isa);
        engine_under_load(Format::fp8, KvType::fp8, isa);
    }
    std::printf("%d failures\n", failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
