#include "bindings/bindings.h"
#include "engine/speculation.h"

namespace genfast {

static StepSize step_of(int64_t requests, int64_t start, int64_t rows) {
    StepSize step;
    for (int64_t i = 0; i < requests; ++i) step.add(start, rows);
    return step;
}

// For tests: where drafts come from and when they are made, without an engine.
void bind_speculation(py::module_& m) {
    py::class_<NgramIndex>(m, "NgramIndex")
        .def(py::init())
        .def(
            "longest",
            [](NgramIndex& index, const std::vector<int32_t>& context) {
                index.extend(context);
                NgramIndex::Match match = index.longest(context);
                return std::make_pair(match.end, match.length);
            },
            py::arg("context"))
        .def_readonly_static("LONGEST", &NgramIndex::kLongest);

    py::class_<CostModel>(m, "CostModel")
        .def(py::init())
        .def(
            "record",
            [](CostModel& cost, int64_t rows, double seconds) {
                cost.record(step_of(1, 0, rows), 0, seconds);
            },
            py::arg("rows"), py::arg("seconds"));

    py::class_<Speculation>(m, "Speculation")
        .def(py::init([](const std::vector<int32_t>& prompt) {
                 return new Speculation(Speculate::when_it_pays, prompt);
             }),
             py::arg("prompt"))
        .def(
            "draft",
            [](Speculation& speculation, const std::vector<int32_t>& context, int64_t most,
               const CostModel& cost, int64_t requests) {
                int64_t start = int64_t(context.size()) - 1;
                StepSize step = step_of(requests, start, 1);
                Draft draft =
                    speculation.draft(context, most, {cost, step, start, requests}, nullptr);
                return std::make_pair(draft.tokens, draft.source);
            },
            py::arg("context"), py::arg("most"), py::arg("cost"), py::arg("requests") = 1)
        .def(
            "verified",
            [](Speculation& speculation, const std::vector<int32_t>& tokens, size_t source,
               int64_t rejected) { speculation.verified({tokens, source}, rejected); },
            py::arg("tokens"), py::arg("source"), py::arg("rejected"))
        .def_readonly_static("MOST", &Speculation::kMost);
}

}  // namespace genfast
