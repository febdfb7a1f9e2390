#include "bindings/sequences.h"

namespace genfast {

static py::tuple wkv4(const FloatArray& k, const FloatArray& v, const FloatArray& w,
                      const FloatArray& u, const std::optional<FloatArray>& state,
                      const std::optional<std::vector<int64_t>>& lengths, const std::string& isa,
                      int threads) {
    require(k.ndim() == 2, "k must have shape [T, C]");
    const int64_t T = k.shape(0), C = k.shape(1);
    require(v.ndim() == 2 && v.shape(0) == T && v.shape(1) == C, "v must have k's shape, [", T,
            ", ", C, "]");
    require(w.ndim() == 1 && w.shape(0) == C, "w must have shape [", C, "]");
    require(u.ndim() == 1 && u.shape(0) == C, "u must have shape [", C, "]");
    Sequences sequences(lengths, T, wkv4_state_floats(C), state);
    FloatArray out = like(k);
    Wkv4Args args{k.data(),          v.data(),           w.data(),
                  u.data(),          out.mutable_data(), sequences.spans(),
                  sequences.count(), sequences.slots(),  C};
    run_kernel(kernels_for(isa).wkv4, args, threads);
    return py::make_tuple(out, sequences.after());
}

void bind_wkv4(py::module_& m) {
    m.def("wkv4", &wkv4, py::arg("k"), py::arg("v"), py::arg("w"), py::arg("u"),
          py::arg("state") = py::none(), py::arg("lengths") = py::none(), py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
