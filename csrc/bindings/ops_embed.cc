#include <algorithm>

#include "bindings/bindings.h"
#include "program/packed_matrix.h"

namespace genfast {

static FloatArray embed(const IntArray& ids, const PackedMatrix& table,
                        const std::optional<FloatArray>& residual, float scale,
                        const std::string& isa, int threads) {
    const Matrix& view = table.view();
    require(ids.ndim() == 1, "ids must have shape [T], found ", ids.ndim(), " axes");
    const int64_t T = ids.shape(0);
    for (int64_t t = 0; t < T; ++t)
        require(ids.at(t) >= 0 && ids.at(t) < view.N, "ids must lie in 0 to ", view.N - 1,
                ", found ", ids.at(t));
    require(!residual ||
                (residual->ndim() == 2 && residual->shape(0) == T && residual->shape(1) == view.K),
            "residual must have shape [", T, ", ", view.K, "]");
    FloatArray out({T, view.K});
    EmbedArgs args{ids.data(), view, optional_data(residual), out.mutable_data(), T, scale};
    run_kernel(kernels_for(isa).embed, args, threads);
    return out;
}

void bind_embed(py::module_& m) {
    m.def("embed", &embed, py::arg("ids"), py::arg("table"), py::arg("residual") = std::nullopt,
          py::kw_only(), py::arg("scale") = 1.0f, py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
