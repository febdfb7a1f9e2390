#include <cmath>

#include "bindings/bindings.h"

namespace genfast {

static int64_t vocabulary(const FloatArray& logits) {
    require(logits.ndim() == 1 && logits.size() > 0, "logits must have shape [V], V >= 1, found ",
            logits.ndim(), " axes and ", logits.size(), " elements");
    return logits.size();
}

// Kept between calls, as an engine keeps its own.
static std::byte* scratch_of(size_t bytes) {
    thread_local Buffer scratch;
    if (scratch.size() < bytes) scratch = Buffer(bytes);
    return scratch.data();
}

static int32_t sample(const FloatArray& logits, float temperature, int64_t top_k, float top_p,
                      float min_p, double draw, const std::string& isa, int threads) {
    int64_t V = vocabulary(logits);
    require(temperature >= 0 && std::isfinite(temperature), "temperature=", temperature,
            " must be a finite number >= 0");
    require(top_k >= 0, "top_k=", top_k, " must be >= 0 (0: all)");
    require(top_p > 0 && top_p <= 1, "top_p=", top_p, " must be above 0 and at most 1");
    require(min_p >= 0 && min_p <= 1, "min_p=", min_p, " must be 0 to 1");
    require(draw >= 0 && draw < 1, "draw=", draw, " must be at least 0 and below 1");
    std::byte* scratch = scratch_of(sample_scratch_bytes(V));
    int32_t token = -1;
    SampleArgs args{logits.data(), scratch, &token, V, temperature, top_k, top_p, min_p, draw};
    run_kernel(kernels_for(isa).sample, args, threads);
    return token;
}

static py::tuple logprobs(const FloatArray& logits, int32_t token, int64_t top_n,
                          const std::string& isa, int threads) {
    int64_t V = vocabulary(logits);
    require(token >= 0 && token < V, "token=", token, " must be 0 to ", V - 1);
    require(top_n >= 0 && top_n <= V, "top_n=", top_n, " must be 0 to ", V);
    std::byte* scratch = scratch_of(logprobs_scratch_bytes(V));
    float of_token = 0;
    py::array_t<int32_t> ids(top_n);
    py::array_t<float> values(top_n);
    LogprobsArgs args{logits.data(),         scratch, &of_token, ids.mutable_data(),
                      values.mutable_data(), V,       top_n,     token};
    run_kernel(kernels_for(isa).logprobs, args, threads);
    return py::make_tuple(of_token, ids, values);
}

void bind_sample(py::module_& m) {
    m.def("sample", &sample, py::arg("logits"), py::kw_only(), py::arg("temperature") = 0.0f,
          py::arg("top_k") = 0, py::arg("top_p") = 1.0f, py::arg("min_p") = 0.0f,
          py::arg("draw") = 0.0, py::arg("isa") = "", py::arg("threads") = 0);
    m.def("logprobs", &logprobs, py::arg("logits"), py::arg("token"), py::arg("top_n") = 0,
          py::kw_only(), py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
