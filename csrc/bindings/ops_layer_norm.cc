#include "bindings/bindings.h"

namespace genfast {

static FloatArray layer_norm(const FloatArray& x, const FloatArray& weight,
                             const std::optional<FloatArray>& bias, float eps,
                             const std::string& isa, int threads) {
    Rows shape = as_rows(x, "x");
    require(weight.ndim() == 1 && weight.shape(0) == shape.cols, "weight must have shape [",
            shape.cols, "] as x's last axis, found ", weight.size(), " elements");
    require(!bias || (bias->ndim() == 1 && bias->shape(0) == shape.cols), "bias must have shape [",
            shape.cols, "] as x's last axis, found ", bias ? bias->size() : 0, " elements");
    FloatArray out = like(x);
    LayerNormArgs args{
        x.data(), weight.data(), optional_data(bias), out.mutable_data(), shape.rows, shape.cols,
        eps};
    run_kernel(kernels_for(isa).layer_norm, args, threads);
    return out;
}

void bind_layer_norm(py::module_& m) {
    m.def("layer_norm", &layer_norm, py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(),
          py::arg("eps") = 1e-5f, py::kw_only(), py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
