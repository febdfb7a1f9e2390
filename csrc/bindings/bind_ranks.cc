#include "bindings/bindings.h"
#include "comm/host_communicator.h"
#include "engine/ranks.h"

namespace genfast {

// Runs a collective with the GIL released; throws where a rank was lost.
template <class Collective>
static void call(Communicator& ranks, Collective collective) {
    {
        WithoutGil release;
        collective();
    }
    ranks.check();
}

static FloatArray all_reduce_sum(Communicator& ranks, const FloatArray& array) {
    FloatArray sum = like(array);
    const float* from = array.data();
    float* to = sum.mutable_data();
    call(ranks, [&, n = array.size()] { ranks.all_reduce_sum(from, to, n); });
    return sum;
}

static FloatArray all_gather(Communicator& ranks, const FloatArray& array) {
    FloatArray all({int64_t(ranks.size()), int64_t(array.size())});
    const float* from = array.data();
    float* to = all.mutable_data();
    call(ranks, [&, n = array.size()] { ranks.all_gather(from, to, n); });
    return all;
}

// Rank 0's bytes; of the others' the length counts alone.
static py::bytes broadcast(Communicator& ranks, const py::bytes& data) {
    std::string all = data;
    call(ranks, [&] { ranks.broadcast(all.data(), all.size()); });
    return all;
}

void bind_ranks(py::module_& m) {
    py::class_<Communicator, std::shared_ptr<Communicator>>(m, "Communicator")
        .def_property_readonly("rank", &Communicator::rank)
        .def_property_readonly("size", &Communicator::size)
        .def("all_reduce_sum", &all_reduce_sum, py::arg("array"))
        .def("all_gather", &all_gather, py::arg("array"))
        .def("broadcast", &broadcast, py::arg("data"));
    py::class_<HostCommunicator, Communicator, std::shared_ptr<HostCommunicator>>(
        m, "HostCommunicator")
        .def(py::init<int, int, int, std::vector<int>, double>(), py::arg("rank"), py::arg("size"),
             py::arg("memory"), py::arg("sockets"), py::arg("seconds"))
        .def("leave", &HostCommunicator::leave)
        .def_static("shared_bytes", &HostCommunicator::shared_bytes, py::arg("size"));
    m.def("follow", &follow, py::arg("program"), py::arg("layouts"), py::arg("ranks"),
          py::arg("threads"), py::arg("isa"), py::call_guard<WithoutGil>());
}

}  // namespace genfast
