#include "bindings/bindings.h"
#include "engine/token_masks.h"

namespace genfast {

static std::shared_ptr<TokenMasks> take(MaskQueue& queue) {
    WithoutGil release;
    return queue.take();
}

static Verdict verdict_named(const std::string& name) {
    if (name == "open") return Verdict::open;
    if (name == "complete") return Verdict::complete;
    require(name == "dead_end", "verdict='", name, "' must be 'open', 'complete' or 'dead_end'");
    return Verdict::dead_end;
}

void bind_masks(py::module_& m) {
    py::class_<MaskQueue, std::shared_ptr<MaskQueue>>(m, "MaskQueue")
        .def(py::init<>())
        .def("take", &take)
        .def("close", &MaskQueue::close, py::call_guard<WithoutGil>())
        .def_property_readonly("waits", [](const MaskQueue& q) { return q.waits.load(); })
        .def_property_readonly(
            "waited_seconds", [](const MaskQueue& q) { return double(q.waited_ns.load()) * 1e-9; });

    py::class_<TokenMasks, std::shared_ptr<TokenMasks>>(m, "TokenMasks")
        .def(py::init<std::shared_ptr<MaskQueue>, int64_t, int64_t>(), py::arg("queue"),
             py::arg("key"), py::arg("bits"))
        .def_readonly("key", &TokenMasks::key)
        .def("take",
             [](TokenMasks& masks) {
                 TokenMasks::Post post = masks.take();
                 std::vector<std::pair<int64_t, int32_t>> beams;
                 for (auto [beam, token] : post.beams) beams.emplace_back(beam, token);
                 return std::make_tuple(std::move(post.accepted), std::move(post.draft),
                                        std::move(beams));
             })
        .def(
            "words",
            [](const py::object& self, size_t row) {
                std::vector<uint32_t>& words = self.cast<TokenMasks&>().words(row);
                return py::array_t<uint32_t>(py::ssize_t(words.size()), words.data(), self);
            },
            py::arg("row"))
        .def(
            "answer",
            [](TokenMasks& masks, const std::vector<std::string>& rows,
               std::vector<int32_t> forced) {
                std::vector<Verdict> verdicts;
                for (const std::string& row : rows) verdicts.push_back(verdict_named(row));
                require(!verdicts.empty(), "an answer has a verdict a row");
                masks.answer(std::move(verdicts), std::move(forced));
            },
            py::arg("rows"), py::arg("forced") = std::vector<int32_t>{})
        .def("fail", &TokenMasks::fail, py::arg("error"));

    // For tests and benches: in place.
    m.def(
        "mask_logits",
        [](py::array_t<float, py::array::c_style>& logits,
           const py::array_t<uint32_t, py::array::c_style>& allowed) {
            require(allowed.size() * 32 >= logits.size(), "allowed must have a bit a logit");
            mask_logits(logits.mutable_data(), logits.size(), allowed.data());
        },
        py::arg("logits").noconvert(), py::arg("allowed").noconvert());
}

}  // namespace genfast
