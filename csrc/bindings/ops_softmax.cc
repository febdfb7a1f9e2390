#include "bindings/bindings.h"

namespace genfast {

static FloatArray softmax(const FloatArray& x, bool log, const std::string& isa, int threads) {
    Rows shape = as_rows(x, "x");
    FloatArray out = like(x);
    SoftmaxArgs args{x.data(), out.mutable_data(), shape.rows, shape.cols, log};
    run_kernel(kernels_for(isa).softmax, args, threads);
    return out;
}

void bind_softmax(py::module_& m) {
    m.def("softmax", &softmax, py::arg("x"), py::arg("log") = false, py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
