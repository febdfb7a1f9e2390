#include <algorithm>

#include "bindings/bindings.h"

namespace genfast {

static FloatArray rms_norm(const FloatArray& x, const FloatArray& weight, float eps, int64_t groups,
                           const std::string& isa, int threads) {
    Rows shape = as_rows(x, "x");
    const int64_t size = check_norm_weight(weight, shape.cols, groups);
    FloatArray out = like(x);
    RmsNormArgs args{x.data(), weight.data(), out.mutable_data(),           shape.rows,
                     size,     eps,           std::max<int64_t>(1, groups), shape.cols};
    run_kernel(kernels_for(isa).rms_norm, args, threads);
    return out;
}

void bind_rms_norm(py::module_& m) {
    m.def("rms_norm", &rms_norm, py::arg("x"), py::arg("weight"), py::arg("eps") = 1e-5f,
          py::kw_only(), py::arg("groups") = 0, py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
