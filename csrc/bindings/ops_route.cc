#include "bindings/bindings.h"

namespace genfast {

static FloatArray route(const FloatArray& logits, int64_t k, const std::string& scoring,
                        const std::optional<FloatArray>& bias, bool renormalise, float scale,
                        int64_t groups, int64_t kept_groups, const std::string& isa, int threads) {
    require(logits.ndim() == 2, "logits must have shape [T, X], found ", logits.ndim(), " axes");
    const int64_t T = logits.shape(0), experts = logits.shape(1);
    check_route_sizes(experts, k, groups, kept_groups);
    require(!bias || (bias->ndim() == 1 && bias->shape(0) == experts), "bias must have shape [",
            experts, "]");
    FloatArray out({T, 2 * k});
    RouteArgs args{logits.data(),
                   optional_data(bias),
                   out.mutable_data(),
                   T,
                   experts,
                   k,
                   groups,
                   kept_groups,
                   scale,
                   scoring_named(scoring),
                   renormalise};
    run_kernel(kernels_for(isa).route, args, threads);
    return out;
}

void bind_route(py::module_& m) {
    m.def("route", &route, py::arg("logits"), py::arg("k"), py::arg("scoring") = "softmax",
          py::arg("bias") = std::nullopt, py::kw_only(), py::arg("renormalise") = false,
          py::arg("scale") = 1.0f, py::arg("groups") = 1, py::arg("kept_groups") = 1,
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
