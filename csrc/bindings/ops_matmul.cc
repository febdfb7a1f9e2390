#include "bindings/bindings.h"
#include "program/packed_matrix.h"

namespace genfast {

static FloatArray matmul(const FloatArray& x, const PackedMatrix& weight,
                         const std::optional<FloatArray>& bias,
                         const std::optional<FloatArray>& residual, const std::string& activation,
                         const std::string& isa, int threads) {
    const Matrix& w = weight.view();
    Rows shape = as_rows(x, "x");
    require(w.panels, "weight must be packed; a row-major table only serves embed");
    require(shape.cols == w.K, "x must have ", w.K, " columns as weight has, found ", shape.cols);
    require(!bias || (bias->ndim() == 1 && bias->shape(0) == w.N), "bias must have shape [", w.N,
            "]");
    std::vector<py::ssize_t> out_shape(x.shape(), x.shape() + x.ndim());
    const int64_t columns = outputs(w);
    out_shape.back() = columns;
    FloatArray out(out_shape);
    require(!residual || (residual->ndim() == out.ndim() &&
                          std::equal(out_shape.begin(), out_shape.end(), residual->shape())),
            "residual must have the result's shape, [..., ", columns, "] with x's leading axes");
    const Kernels& kernels = kernels_for(isa);
    ThreadPool& pool = pool_of(threads);
    Buffer scratch(kernels.matmul_scratch_bytes(w, shape.rows, pool.size()));
    MatmulArgs args{x.data(),
                    w,
                    optional_data(bias),
                    optional_data(residual),
                    out.mutable_data(),
                    scratch.data(),
                    shape.rows,
                    activation_named(activation)};
    if (shape.rows) run_kernel(kernels.matmul, args, threads);
    return out;
}

void bind_matmul(py::module_& m) {
    m.def("matmul", &matmul, py::arg("x"), py::arg("weight"), py::arg("bias") = std::nullopt,
          py::arg("residual") = std::nullopt, py::arg("activation") = "none", py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
    m.def(
        "matmul_variant",
        [](const std::string& format, const std::string& isa) {
            return kernels_for(isa).matmul_variant(format_from_name(format));
        },
        py::arg("format"), py::kw_only(), py::arg("isa") = "");
}

}  // namespace genfast
