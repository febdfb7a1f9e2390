#include "bindings/bindings.h"
#include "engine/engine.h"

namespace genfast {

// In a forked child an engine's threads do not exist and cannot be joined: its memory is left to
// the end of the process.
struct EngineDeleter {
    void operator()(Engine* engine) const {
        if (engine->forked()) return;
        WithoutGil release;
        delete engine;
    }
};

static bool wait(Request& request, int64_t tokens, double seconds) {
    WithoutGil release;
    return request.wait(tokens, seconds);
}

static double seconds(Clock::time_point from, Clock::time_point to) {
    if (from == Clock::time_point{} || to == Clock::time_point{}) return 0;
    return std::chrono::duration<double>(to - from).count();
}

static py::list as_tuples(const std::vector<TokenLogprobs>& logprobs, size_t start) {
    py::list tuples;
    for (size_t i = start; i < logprobs.size(); ++i) {
        const TokenLogprobs& token = logprobs[i];
        tuples.append(py::make_tuple(token.logprob, token.top, token.entropy, token.margin));
    }
    return tuples;
}

// Everything a caller may want of a request now; `start`: the tokens it has seen already.
static py::dict snapshot(Request& request, size_t start) {
    std::unique_lock lock(request.mutex, std::defer_lock);
    {
        WithoutGil release;  // the engine's thread may hold the mutex
        lock.lock();
    }
    py::dict state;
    start = std::min(start, request.tokens.size());
    state["tokens"] =
        std::vector<int32_t>(request.tokens.begin() + std::ptrdiff_t(start), request.tokens.end());
    state["logprobs"] = as_tuples(request.logprobs, start);
    state["finish_reason"] = name_of(request.finish);
    state["error"] = request.error;
    state["digests"] = std::vector<uint64_t>(
        request.digests.begin() + std::ptrdiff_t(std::min(start, request.digests.size())),
        request.digests.end());
    state["cached_tokens"] = request.prompt_cached;
    state["cost"] = py::make_tuple(request.cost.cpu_seconds, request.cost.bytes_moved,
                                   request.cost.kv_byte_seconds);
    state["drafts"] =
        py::make_tuple(request.drafts.drafts, request.drafts.tokens, request.drafts.accepted);
    state["prefill_s"] = seconds(request.started, request.first_token);
    state["ttft_s"] = seconds(request.submitted, request.first_token);
    state["decode_s"] = seconds(request.first_token, request.finished);
    return state;
}

// What a beam search has found, the best first; none before it is finished.
static py::list hypotheses(Request& request) {
    std::lock_guard lock(request.mutex);
    py::list all;
    for (const Hypothesis& hypothesis : request.hypotheses) {
        py::dict one;
        one["tokens"] = hypothesis.tokens;
        one["score"] = hypothesis.score;
        one["ended"] = hypothesis.ended;
        one["logprobs"] = as_tuples(hypothesis.logprobs, 0);
        one["digests"] = hypothesis.digests;
        all.append(one);
    }
    return all;
}

static FloatArray take_logits(Request& request, int64_t vocabulary) {
    std::lock_guard lock(request.mutex);
    if (request.finish != FinishReason::length || request.prompt_logits.empty())
        throw std::runtime_error("the logits are not there: the request did not finish");
    // Hand the vector itself to numpy; a copy could be as large as the weights.
    auto* logits = new std::vector<float>(std::move(request.prompt_logits));
    py::capsule owner(logits, [](void* p) { delete static_cast<std::vector<float>*>(p); });
    return FloatArray({int64_t(logits->size()) / vocabulary, vocabulary}, logits->data(), owner);
}

using ByteArray = py::array_t<uint8_t, py::array::c_style>;

static ByteArray as_array(const std::vector<std::byte>& bytes) {
    return ByteArray(py::ssize_t(bytes.size()), reinterpret_cast<const uint8_t*>(bytes.data()));
}

static std::span<const std::byte> as_bytes(const ByteArray& array) {
    return {reinterpret_cast<const std::byte*>(array.data()), size_t(array.size())};
}

static PromptOutputs prompt_outputs_named(const std::string& name) {
    if (name == "logits") return PromptOutputs::logits;
    if (name == "logprobs") return PromptOutputs::logprobs;
    require(name.empty(), "prompt_outputs='", name, "' must be '', 'logits' or 'logprobs'");
    return PromptOutputs::none;
}

static Speculate speculate_named(const std::string& name) {
    if (name == "never") return Speculate::never;
    if (name == "always") return Speculate::always;
    require(name == "when_it_pays", "speculate='", name,
            "' must be 'never', 'when_it_pays' or 'always'");
    return Speculate::when_it_pays;
}

static Clock::time_point deadline(double seconds) {
    // Beyond a year there is no deadline; nor would the clock hold it.
    if (!(seconds < 3e7)) return Clock::time_point::max();
    return Clock::now() +
           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// Raises genfast.errors' exception of this name.
static void raise_own(const char* name, const std::exception& error) {
    py::object type = py::module_::import("genfast.errors").attr(name);
    PyErr_SetString(type.ptr(), error.what());
}

void bind_engine(py::module_& m) {
    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const QueueFull& error) {
            raise_own("QueueFull", error);
        } catch (const DeadlineError& error) {
            raise_own("DeadlineError", error);
        } catch (const DeviceError& error) {
            raise_own("DeviceError", error);
        }
    });
    py::class_<Request, std::shared_ptr<Request>>(m, "Request")
        .def("wait", &wait, py::arg("tokens"), py::arg("seconds"))
        .def("snapshot", &snapshot, py::arg("start") = 0)
        .def("hypotheses", &hypotheses)
        .def("take_logits", &take_logits, py::arg("vocabulary"))
        .def_property_readonly("prompt_logprobs",
                               [](Request& r) {
                                   std::lock_guard lock(r.mutex);
                                   return as_tuples(r.prompt_logprobs, 0);
                               })
        .def_property_readonly("prompt", [](const Request& r) { return r.spec.prompt; });

    py::class_<DraftModel, std::shared_ptr<DraftModel>>(m, "DraftModel");

    py::class_<Engine, std::unique_ptr<Engine, EngineDeleter>>(m, "Engine")
        .def(py::init([](std::shared_ptr<Program> program, const std::vector<KvLayout>& layouts,
                         int threads, const std::string& isa, size_t on_device, int64_t kv_pages,
                         int64_t state_slots, int64_t step_tokens, int64_t sequences,
                         int64_t context, int64_t vocabulary, bool check, int64_t queue,
                         bool prefix_cache, std::shared_ptr<Communicator> ranks) {
                 EngineOptions options{threads,         isa,         on_device, kv_pages,
                                       state_slots,     step_tokens, sequences, context,
                                       vocabulary,      check,       queue,     prefix_cache,
                                       std::move(ranks)};
                 WithoutGil release;
                 return std::unique_ptr<Engine, EngineDeleter>(
                     new Engine(std::move(program), layouts, options));
             }),
             py::kw_only(), py::arg("program"), py::arg("layouts"), py::arg("threads"),
             py::arg("isa"), py::arg("on_device") = SIZE_MAX, py::arg("kv_pages"),
             py::arg("state_slots") = 0, py::arg("step_tokens"), py::arg("sequences"),
             py::arg("context"), py::arg("vocabulary"), py::arg("check"),
             py::arg("queue") = INT64_MAX, py::arg("prefix_cache") = true,
             py::arg("ranks") = nullptr)
        .def(
            "submit",
            [](Engine& engine, std::vector<int32_t> prompt, int64_t max_tokens,
               const SamplingParams& sampling, const std::string& prompt_outputs,
               int64_t outputs_from, bool reuse, int64_t chunk, int64_t priority,
               double deadline_seconds, const std::string& speculate,
               std::shared_ptr<DraftModel> draft_model, std::shared_ptr<TokenMasks> masks,
               const BeamParams& beams, float guidance_scale,
               std::vector<int32_t> negative_prompt) {
                RequestSpec spec{std::move(prompt),
                                 max_tokens,
                                 sampling,
                                 prompt_outputs_named(prompt_outputs),
                                 outputs_from,
                                 reuse,
                                 chunk,
                                 priority,
                                 deadline(deadline_seconds),
                                 speculate_named(speculate),
                                 std::move(draft_model),
                                 std::move(masks),
                                 beams,
                                 {guidance_scale, std::move(negative_prompt)}};
                WithoutGil release;
                return engine.submit(std::move(spec));
            },
            py::arg("prompt"), py::arg("max_tokens"), py::arg("sampling") = SamplingParams{},
            py::kw_only(), py::arg("prompt_outputs") = "", py::arg("outputs_from") = 0,
            py::arg("reuse") = true, py::arg("chunk") = 0, py::arg("priority") = 0,
            py::arg("deadline_seconds") = INFINITY, py::arg("speculate") = "never",
            py::arg("draft_model") = nullptr, py::arg("masks") = nullptr,
            py::arg("beams") = BeamParams{}, py::arg("guidance_scale") = 1.0f,
            py::arg("negative_prompt") = std::vector<int32_t>{})
        .def("draft_model", &Engine::draft_model, py::arg("program"), py::arg("layouts"),
             py::arg("context"), py::call_guard<WithoutGil>())
        .def("export_kv",
             [](Engine& engine, const std::vector<int32_t>& tokens) {
                 Engine::Prefix prefix;
                 {
                     WithoutGil release;
                     prefix = engine.export_kv(tokens);
                 }
                 return py::make_tuple(prefix.tokens, as_array(prefix.pages),
                                       as_array(prefix.state));
             })
        .def("import_kv",
             [](Engine& engine, const std::vector<int32_t>& tokens, const ByteArray& pages,
                const ByteArray& state) {
                 auto data = as_bytes(pages), slot = as_bytes(state);
                 WithoutGil release;
                 return engine.import_kv(tokens, data, slot);
             })
        .def("cancel", &Engine::cancel, py::call_guard<WithoutGil>())
        .def("close", &Engine::close, py::call_guard<WithoutGil>())
        .def("stats", &Engine::stats, py::call_guard<WithoutGil>())
        .def("dump", &Engine::dump)
        .def_property_readonly("isa", [](const Engine& e) { return e.isa(); });
}

}  // namespace genfast
