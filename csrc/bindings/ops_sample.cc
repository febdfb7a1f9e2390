#include <algorithm>
#include <cmath>

#include "bindings/bindings.h"

namespace genfast {

static int64_t vocabulary(const FloatArray& logits) {
    require(logits.ndim() == 1 && logits.size() > 0, "logits must have shape [V], V >= 1, found ",
            logits.ndim(), " axes and ", logits.size(), " elements");
    return logits.size();
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

static py::tuple logprobs(const FloatArray& logits, int32_t token, int64_t top_n, bool normalised,
                          const std::string& isa, int threads) {
    int64_t V = vocabulary(logits);
    require(token >= 0 && token < V, "token=", token, " must be 0 to ", V - 1);
    require(top_n >= 0 && top_n <= V, "top_n=", top_n, " must be 0 to ", V);
    std::byte* scratch = scratch_of(logprobs_scratch_bytes(V));
    float of_token = 0, entropy = 0, margin = 0;
    py::array_t<int32_t> ids(top_n);
    py::array_t<float> values(top_n);
    LogprobsArgs args{};
    args.logits = logits.data();
    args.scratch = scratch;
    args.token_logprob = &of_token;
    args.entropy = &entropy;
    args.margin = &margin;
    args.top_ids = ids.mutable_data();
    args.top_logprobs = values.mutable_data();
    args.V = V;
    args.top_n = top_n;
    args.token = token;
    args.normalised = normalised;
    if (normalised) args.entropy = args.margin = nullptr;
    run_kernel(kernels_for(isa).logprobs, args, threads);
    return py::make_tuple(of_token, entropy, margin, ids, values);
}

static py::tuple truncate(const FloatArray& logits, float temperature, float top_n_sigma,
                          int64_t top_k, float top_p, float min_p, float typical_p,
                          float xtc_threshold, double max_bits, const std::string& isa,
                          int threads) {
    int64_t V = vocabulary(logits);
    require(temperature > 0 && std::isfinite(temperature), "temperature=", temperature,
            " must be a finite number above 0");
    require(top_n_sigma >= 0, "top_n_sigma=", top_n_sigma, " must be >= 0 (0: all)");
    require(top_k >= 0, "top_k=", top_k, " must be >= 0 (0: all)");
    require(top_p > 0 && top_p <= 1, "top_p=", top_p, " must be above 0 and at most 1");
    require(min_p >= 0 && min_p <= 1, "min_p=", min_p, " must be 0 to 1");
    require(typical_p > 0 && typical_p <= 1, "typical_p=", typical_p,
            " must be above 0 and at most 1");
    require(xtc_threshold > 0, "xtc_threshold=", xtc_threshold, " must be above 0 (1: all)");
    require(!std::isnan(max_bits), "max_bits=", max_bits, " must be a number");
    FloatArray left = like(logits);
    std::copy_n(logits.data(), V, left.mutable_data());
    int64_t kept = 0;
    double log_sum = 0;
    TruncateArgs args{left.mutable_data(),
                      scratch_of(truncate_scratch_bytes(V)),
                      &kept,
                      &log_sum,
                      V,
                      temperature,
                      top_n_sigma,
                      top_k,
                      top_p,
                      min_p,
                      typical_p,
                      xtc_threshold,
                      max_bits};
    run_kernel(kernels_for(isa).truncate, args, threads);
    return py::make_tuple(left, kept, log_sum);
}

static FloatArray log_softmax(const FloatArray& logits, const std::string& isa, int threads) {
    int64_t V = vocabulary(logits);
    FloatArray all(V);
    LogprobsArgs args{};
    args.logits = logits.data();
    args.scratch = scratch_of(logprobs_scratch_bytes(V));
    args.V = V;
    args.all = all.mutable_data();
    run_kernel(kernels_for(isa).logprobs, args, threads);
    return all;
}

void bind_sample(py::module_& m) {
    m.def("sample", &sample, py::arg("logits"), py::kw_only(), py::arg("temperature") = 0.0f,
          py::arg("top_k") = 0, py::arg("top_p") = 1.0f, py::arg("min_p") = 0.0f,
          py::arg("draw") = 0.0, py::arg("isa") = "", py::arg("threads") = 0);
    m.def("logprobs", &logprobs, py::arg("logits"), py::arg("token"), py::arg("top_n") = 0,
          py::kw_only(), py::arg("normalised") = false, py::arg("isa") = "",
          py::arg("threads") = 0);
    m.def("log_softmax", &log_softmax, py::arg("logits"), py::kw_only(), py::arg("isa") = "",
          py::arg("threads") = 0);
    m.def("truncate", &truncate, py::arg("logits"), py::kw_only(), py::arg("temperature") = 1.0f,
          py::arg("top_n_sigma") = 0.0f, py::arg("top_k") = 0, py::arg("top_p") = 1.0f,
          py::arg("min_p") = 0.0f, py::arg("typical_p") = 1.0f, py::arg("xtc_threshold") = 1.0f,
          py::arg("max_bits") = INFINITY, py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
