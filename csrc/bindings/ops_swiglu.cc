#include "bindings/bindings.h"

namespace genfast {

static FloatArray swiglu(const FloatArray& x, const std::string& activation, const std::string& isa,
                         int threads) {
    Rows shape = as_rows(x, "x");
    require(shape.cols % 2 == 0, "x must have an even last axis (gate, up), found ", shape.cols);
    std::vector<py::ssize_t> out_shape(x.shape(), x.shape() + x.ndim());
    out_shape.back() /= 2;
    FloatArray out(out_shape);
    SwigluArgs args{x.data(), out.mutable_data(), shape.rows, shape.cols / 2,
                    activation_named(activation)};
    run_kernel(kernels_for(isa).swiglu, args, threads);
    return out;
}

void bind_swiglu(py::module_& m) {
    m.def("swiglu", &swiglu, py::arg("x"), py::arg("activation") = "silu", py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
