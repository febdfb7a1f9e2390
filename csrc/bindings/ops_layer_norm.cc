#include <algorithm>

#include "bindings/bindings.h"

namespace genfast {

static FloatArray layer_norm(const FloatArray& x, const FloatArray& weight,
                             const std::optional<FloatArray>& bias, float eps, int64_t groups,
                             const std::string& isa, int threads) {
    Rows shape = as_rows(x, "x");
    const int64_t size = check_norm_weight(weight, shape.cols, groups);
    require(!bias || (bias->ndim() == 1 && bias->shape(0) == weight.shape(0)),
            "bias must have shape [", weight.shape(0), "] as weight, found ",
            bias ? bias->size() : 0, " elements");
    FloatArray out = like(x);
    LayerNormArgs args{
        x.data(), weight.data(), optional_data(bias),          out.mutable_data(), shape.rows,
        size,     eps,           std::max<int64_t>(1, groups), shape.cols};
    run_kernel(kernels_for(isa).layer_norm, args, threads);
    return out;
}

void bind_layer_norm(py::module_& m) {
    m.def("layer_norm", &layer_norm, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(),
          py::arg("eps") = 1e-5f, py::kw_only(), py::arg("groups") = 0, py::arg("isa") = "",
          py::arg("threads") = 0);
}

}  // namespace genfast
