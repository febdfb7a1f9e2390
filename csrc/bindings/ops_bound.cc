#include "bindings/bindings.h"

namespace genfast {

static FloatArray bound(const FloatArray& x, float limit, bool soft, const std::string& isa,
                        int threads) {
    require(limit > 0, "limit=", limit, " must be positive");
    FloatArray out = like(x);
    BoundArgs args{x.data(), out.mutable_data(), int64_t(x.size()), limit, soft};
    run_kernel(kernels_for(isa).bound, args, threads);
    return out;
}

void bind_bound(py::module_& m) {
    m.def("bound", &bound, py::arg("x"), py::arg("limit"), py::arg("soft") = false, py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
