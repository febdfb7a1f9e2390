#include <algorithm>
#include <chrono>

#include "bindings/bindings.h"

namespace genfast {

static ProbeKind kind_named(const std::string& name) {
    if (name == "read") return ProbeKind::read;
    if (name == "fma_f32") return ProbeKind::fma_f32;
    if (name == "dot_bf16") return ProbeKind::dot_bf16;
    if (name == "dot_int8") return ProbeKind::dot_int8;
    if (name == "barrier") return ProbeKind::barrier;
    throw std::invalid_argument(
        cat("kind='", name, "' must be one of read, fma_f32, dot_bf16, dot_int8, barrier"));
}

// -> (seconds, operations of all threads, results of each thread)
static std::tuple<double, double, std::vector<double>> probe(const std::string& kind,
                                                             const py::buffer& data, int64_t rounds,
                                                             const std::string& isa, int threads) {
    py::buffer_info info = data.request();
    int64_t bytes = int64_t(info.size) * int64_t(info.itemsize);
    require(bytes % 1024 == 0 && rounds >= 0, "data must hold a multiple of 1024 bytes, found ",
            bytes, "; rounds must not be negative");
    const Kernels& kernels = kernels_for(isa);
    ThreadPool& pool = pool_of(threads);
    std::vector<double> results(size_t(pool.size())), operations(size_t(pool.size()));
    ProbeArgs args{
        kind_named(kind), static_cast<const std::byte*>(info.ptr), bytes, rounds, results.data(),
        operations.data()};
    auto begin = std::chrono::steady_clock::now();
    {
        WithoutGil release;
        pool.run([&](Team& team) { kernels.probe(args, team); });
    }
    double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    double total = 0;
    for (double count : operations) total += count;
    return {seconds, total, results};
}

void bind_probe(py::module_& m) {
    m.def("probe", &probe, py::arg("kind"), py::arg("data"), py::arg("rounds") = 0, py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
