#include "bindings/bindings.h"
#include "engine/sampler.h"

namespace genfast {

void bind_sampler(py::module_& m) {
    py::class_<SamplingParams>(m, "SamplingParams")
        .def(py::init([](float temperature, int64_t top_k, float top_p, float min_p,
                         float repetition_penalty, float presence_penalty, float frequency_penalty,
                         std::vector<std::pair<int32_t, float>> logit_bias, uint64_t seed,
                         uint64_t stream, int64_t min_tokens, std::vector<int32_t> stop_ids,
                         int64_t logprobs) {
                 return SamplingParams{temperature,
                                       top_k,
                                       top_p,
                                       min_p,
                                       repetition_penalty,
                                       presence_penalty,
                                       frequency_penalty,
                                       std::move(logit_bias),
                                       seed,
                                       stream,
                                       min_tokens,
                                       std::move(stop_ids),
                                       logprobs};
             }),
             py::kw_only(), py::arg("temperature") = 0.0f, py::arg("top_k") = 0,
             py::arg("top_p") = 1.0f, py::arg("min_p") = 0.0f, py::arg("repetition_penalty") = 1.0f,
             py::arg("presence_penalty") = 0.0f, py::arg("frequency_penalty") = 0.0f,
             py::arg("logit_bias") = std::vector<std::pair<int32_t, float>>{}, py::arg("seed") = 0,
             py::arg("stream") = 0, py::arg("min_tokens") = 0,
             py::arg("stop_ids") = std::vector<int32_t>{}, py::arg("logprobs") = -1);

    // For tests: the sampler alone, on logits of the caller's.
    py::class_<Sampler>(m, "Sampler")
        .def(py::init<const SamplingParams&, const std::vector<int32_t>&>(), py::arg("params"),
             py::arg("prompt"))
        .def(
            "next",
            [](Sampler& sampler, const FloatArray& logits, int64_t position,
               const std::string& isa) {
                require(logits.ndim() == 1 && logits.size() > 0, "logits must have shape [V]");
                std::vector<float> edited(logits.data(), logits.data() + logits.size());
                Buffer scratch(sampler_scratch_bytes(logits.size()));
                TokenLogprobs logprobs;
                int32_t token = sampler.next(edited.data(), logits.size(), position,
                                             kernels_for(isa), scratch.data(), &logprobs);
                return std::make_tuple(token, logprobs.logprob, logprobs.top, edited);
            },
            py::arg("logits"), py::arg("position"), py::kw_only(), py::arg("isa") = "")
        .def("accept", &Sampler::accept, py::arg("token"));
}

}  // namespace genfast
