#include <algorithm>

#include "bindings/bindings.h"
#include "engine/beam_search.h"
#include "engine/sampler.h"

namespace genfast {

static FloatArray copy_of(const FloatArray& logits) {
    require(logits.ndim() == 1 && logits.size() > 0, "logits must have shape [V]");
    FloatArray copy = like(logits);
    std::copy_n(logits.data(), logits.size(), copy.mutable_data());
    return copy;
}

static EarlyStopping early_stopping_named(const std::string& name) {
    if (name == "yes") return EarlyStopping::yes;
    if (name == "never") return EarlyStopping::never;
    require(name == "no", "early_stopping='", name, "' must be 'no', 'yes' or 'never'");
    return EarlyStopping::no;
}

static void bind_beams(py::module_& m) {
    py::class_<BeamParams>(m, "BeamParams")
        .def(py::init([](int64_t count, int64_t groups, float length_penalty,
                         float diversity_penalty, const std::string& early_stopping,
                         Phrases required) {
                 return BeamParams{count,
                                   groups,
                                   length_penalty,
                                   diversity_penalty,
                                   early_stopping_named(early_stopping),
                                   std::move(required)};
             }),
             py::kw_only(), py::arg("count") = 1, py::arg("groups") = 1,
             py::arg("length_penalty") = 1.0f, py::arg("diversity_penalty") = 0.0f,
             py::arg("early_stopping") = "no", py::arg("required") = Phrases{});
}

void bind_sampler(py::module_& m) {
    bind_beams(m);
    py::class_<SamplingParams> params(m, "SamplingParams");
    params.def(py::init([](const py::kwargs& fields) {
        py::object made = py::cast(SamplingParams{});
        for (auto [name, value] : fields) made.attr(name) = value;
        return made.cast<SamplingParams>();
    }));
#define GENFAST_FIELD(name) params.def_readwrite(#name, &SamplingParams::name);
    GENFAST_FIELD(logit_bias)
    GENFAST_FIELD(repetition_penalty)
    GENFAST_FIELD(presence_penalty)
    GENFAST_FIELD(frequency_penalty)
    GENFAST_FIELD(dry_multiplier)
    GENFAST_FIELD(dry_base)
    GENFAST_FIELD(dry_allowed_length)
    GENFAST_FIELD(dry_breakers)
    GENFAST_FIELD(no_repeat_ngram_size)
    GENFAST_FIELD(bad_words)
    GENFAST_FIELD(min_tokens)
    GENFAST_FIELD(stop_ids)
    GENFAST_FIELD(forced)
    GENFAST_FIELD(suppress)
    GENFAST_FIELD(suppress_at)
    GENFAST_FIELD(temperature)
    GENFAST_FIELD(top_n_sigma)
    GENFAST_FIELD(top_k)
    GENFAST_FIELD(top_p)
    GENFAST_FIELD(min_p)
    GENFAST_FIELD(typical_p)
    GENFAST_FIELD(xtc_probability)
    GENFAST_FIELD(xtc_threshold)
    GENFAST_FIELD(mirostat_tau)
    GENFAST_FIELD(mirostat_eta)
    GENFAST_FIELD(seed)
    GENFAST_FIELD(stream)
    GENFAST_FIELD(logprobs)
#undef GENFAST_FIELD

    // For tests: the sampler alone, on logits of the caller's.
    py::class_<Sampler>(m, "Sampler")
        .def(py::init<const SamplingParams&, const std::vector<int32_t>&>(), py::arg("params"),
             py::arg("prompt"))
        .def(
            "next",
            [](Sampler& sampler, const FloatArray& logits, int64_t position,
               const std::optional<py::array_t<uint32_t, py::array::c_style>>& allowed,
               const std::string& isa) {
                require(!allowed || allowed->size() >= (logits.size() + 31) / 32,
                        "allowed must have a bit a logit");
                FloatArray edited = copy_of(logits);
                TokenLogprobs told;
                int32_t token =
                    sampler.next(edited.mutable_data(), logits.size(), position, kernels_for(isa),
                                 scratch_of(sampler_scratch_bytes(logits.size())), &told,
                                 allowed ? allowed->data() : nullptr);
                return py::make_tuple(token, told.logprob, told.top, edited);
            },
            py::arg("logits"), py::arg("position"), py::kw_only(), py::arg("allowed") = py::none(),
            py::arg("isa") = "")
        .def("accept", &Sampler::accept, py::arg("token"))
        .def(
            "edit",
            [](const Sampler& sampler, const FloatArray& logits) {
                FloatArray edited = copy_of(logits);
                sampler.edit(edited.mutable_data(), logits.size());
                return edited;
            },
            py::arg("logits"));
}

}  // namespace genfast
