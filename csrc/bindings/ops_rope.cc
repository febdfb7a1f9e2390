#include "bindings/bindings.h"

namespace genfast {

static FloatArray rope_table(const IntArray& positions, const FloatArray& inv_freq, float scale,
                             double dynamic_base, double dynamic_factor, int64_t dynamic_length,
                             const std::string& isa, int threads) {
    require(positions.ndim() == 1, "positions must have shape [T], found ", positions.ndim(),
            " axes");
    require(inv_freq.ndim() == 1, "inv_freq must have shape [R / 2], found ", inv_freq.ndim(),
            " axes");
    require(!(dynamic_base > 0) || dynamic_length > 0, "dynamic_length=", dynamic_length,
            " must be positive with dynamic_base");
    int64_t T = positions.size(), R = 2 * inv_freq.size();
    for (int64_t t = 0; t < T; ++t)
        require(positions.data()[t] >= 0, "positions[", t, "]=", positions.data()[t],
                " must not be negative");
    FloatArray table({T, R});
    RopeTableArgs args{positions.data(), inv_freq.data(), table.mutable_data(), T, R, scale,
                       dynamic_base,     dynamic_factor,  dynamic_length};
    run_kernel(kernels_for(isa).rope_table, args, threads);
    return table;
}

static FloatArray rope(const FloatArray& x, const FloatArray& table, int64_t heads,
                       int64_t head_dim, bool interleaved, const std::string& isa, int threads) {
    Rows shape = as_rows(x, "x");
    Rows angles = as_rows(table, "table");
    require(head_dim > 0, "head_dim=", head_dim, " must be positive");
    if (heads < 0) heads = shape.cols / head_dim;
    require(heads > 0 && heads <= shape.cols / head_dim, "heads=", heads, " of head_dim=", head_dim,
            " do not fit a row of ", shape.cols, " numbers");
    require(angles.rows == shape.rows, "table must have ", shape.rows, " rows as x, found ",
            angles.rows);
    require(angles.cols % 2 == 0 && angles.cols <= head_dim,
            "table's last axis must be even and at ", "most head_dim=", head_dim, ", found ",
            angles.cols);
    FloatArray out = like(x);
    RopeArgs args{x.data(), table.data(), out.mutable_data(), shape.rows, shape.cols,
                  heads,    head_dim,     angles.cols,        interleaved};
    run_kernel(kernels_for(isa).rope, args, threads);
    return out;
}

void bind_rope(py::module_& m) {
    m.def("rope_table", &rope_table, py::arg("positions"), py::arg("inv_freq"),
          py::arg("scale") = 1.0f, py::arg("dynamic_base") = 0.0, py::arg("dynamic_factor") = 1.0,
          py::arg("dynamic_length") = 0, py::kw_only(), py::arg("isa") = "",
          py::arg("threads") = 0);
    m.def("rope", &rope, py::arg("x"), py::arg("table"), py::arg("heads"), py::arg("head_dim"),
          py::arg("interleaved") = false, py::kw_only(), py::arg("isa") = "",
          py::arg("threads") = 0);
}

}  // namespace genfast
