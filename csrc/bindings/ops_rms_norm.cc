#include "bindings/bindings.h"

namespace genfast {

static FloatArray rms_norm(const FloatArray& x, const FloatArray& weight, float eps,
                           const std::string& isa, int threads) {
    Rows shape = as_rows(x, "x");
    require(weight.ndim() == 1 && weight.shape(0) == shape.cols, "weight must have shape [",
            shape.cols, "] as x's last axis, found ", weight.size(), " elements");
    FloatArray out = like(x);
    RmsNormArgs args{x.data(), weight.data(), out.mutable_data(), shape.rows, shape.cols, eps};
    run_kernel(kernels_for(isa).rms_norm, args, threads);
    return out;
}

void bind_rms_norm(py::module_& m) {
    m.def("rms_norm", &rms_norm, py::arg("x"), py::arg("weight"), py::arg("eps") = 1e-5f,
          py::kw_only(), py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
