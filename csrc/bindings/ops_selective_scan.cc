#include "bindings/sequences.h"

namespace genfast {

static py::tuple selective_scan(const FloatArray& x, const FloatArray& dt, const FloatArray& A,
                                const FloatArray& B, const FloatArray& C, const FloatArray& D,
                                const std::optional<FloatArray>& dt_bias,
                                const std::optional<FloatArray>& z,
                                const std::optional<FloatArray>& state,
                                const std::optional<std::vector<int64_t>>& lengths, float dt_min,
                                float dt_max, const std::string& isa, int threads) {
    require(x.ndim() == 3, "x must have shape [T, H, P]");
    const int64_t T = x.shape(0), heads = x.shape(1), dim = x.shape(2), channels = heads * dim;
    const bool by_channel = A.ndim() == 2;
    const int64_t rates = by_channel ? channels : heads;
    require(heads > 0 && dim > 0 && (by_channel || A.ndim() == 1) && A.shape(A.ndim() - 1) == rates,
            "A must have shape [", heads, "] or [N, ", channels, "]");
    require(B.ndim() == 3 && B.shape(0) == T && B.shape(1) > 0 && heads % B.shape(1) == 0 &&
                B.shape(2) > 0 && (!by_channel || A.shape(0) == B.shape(2)),
            "B must have shape [", T, ", groups, N], groups dividing ", heads,
            " and N as of A, if it has one");
    require(C.ndim() == 3 && std::equal(B.shape(), B.shape() + 3, C.shape()),
            "C must have B's shape");
    require(dt.ndim() == 2 && dt.shape(0) == T && dt.shape(1) == rates, "dt must have shape [", T,
            ", ", rates, "]");
    require(D.ndim() == 1 && D.shape(0) == channels, "D must have shape [", channels, "]");
    require(!dt_bias || (dt_bias->ndim() == 1 && dt_bias->shape(0) == rates),
            "dt_bias must have shape [", rates, "]");
    require(!z || (z->ndim() == 3 && std::equal(x.shape(), x.shape() + 3, z->shape())),
            "z must have x's shape");
    require(dt_min >= 0 && dt_min <= dt_max, "dt_min=", dt_min, " must be 0 to dt_max=", dt_max);
    const int64_t groups = B.shape(1), N = B.shape(2);
    Sequences sequences(lengths, T, scan_state_floats(heads, dim, N), state);
    FloatArray out = like(x);
    SelectiveScanArgs args{{x.data(), channels},
                           {dt.data(), rates},
                           {B.data(), groups * N},
                           {C.data(), groups * N},
                           {optional_data(z), channels},
                           A.data(),
                           D.data(),
                           optional_data(dt_bias),
                           out.mutable_data(),
                           sequences.spans(),
                           sequences.count(),
                           sequences.slots(),
                           heads,
                           dim,
                           N,
                           groups,
                           by_channel,
                           dt_min,
                           dt_max};
    run_kernel(kernels_for(isa).selective_scan, args, threads);
    return py::make_tuple(out, sequences.after());
}

void bind_selective_scan(py::module_& m) {
    m.def("selective_scan", &selective_scan, py::arg("x"), py::arg("dt"), py::arg("A"),
          py::arg("B"), py::arg("C"), py::arg("D"), py::arg("dt_bias") = py::none(),
          py::arg("z") = py::none(), py::arg("state") = py::none(), py::arg("lengths") = py::none(),
          py::arg("dt_min") = 0.0f, py::arg("dt_max") = INFINITY, py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
