#include "bindings/bindings.h"

namespace genfast {

static FloatArray activation(const FloatArray& x, const std::string& kind, const std::string& isa,
                             int threads) {
    FloatArray out = like(x);
    ActivationArgs args{x.data(), out.mutable_data(), int64_t(x.size()), activation_named(kind)};
    run_kernel(kernels_for(isa).activation, args, threads);
    return out;
}

void bind_activation(py::module_& m) {
    m.def("activation", &activation, py::arg("x"), py::arg("kind"), py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
