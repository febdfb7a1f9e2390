#include "bindings/sequences.h"

namespace genfast {

static py::tuple wkv7(const FloatArray& r, const FloatArray& w, const FloatArray& k,
                      const FloatArray& v, const FloatArray& a, const FloatArray& g,
                      const FloatArray& k_k, const FloatArray& k_a, const FloatArray& r_k,
                      const FloatArray& weight, const FloatArray& bias, float eps,
                      const std::optional<FloatArray>& v_first, const std::optional<FloatArray>& m,
                      const std::optional<FloatArray>& state,
                      const std::optional<std::vector<int64_t>>& lengths, const std::string& isa,
                      int threads) {
    require(r.ndim() == 3 && r.shape(1) > 0 && r.shape(2) > 0 && r.shape(2) <= kMaxWkvHead,
            "r must have shape [T, H, D], D at most ", kMaxWkvHead);
    const int64_t T = r.shape(0), heads = r.shape(1), D = r.shape(2);
    require(bool(v_first) == bool(m), "v_first and m go together");
    const std::pair<const char*, const FloatArray*> alike[] = {
        {"w", &w},          {"k", &k}, {"v", &v},
        {"a", &a},          {"g", &g}, {"v_first", v_first ? &*v_first : &r},
        {"m", m ? &*m : &r}};
    for (auto [name, array] : alike)
        require(array->ndim() == 3 && std::equal(r.shape(), r.shape() + 3, array->shape()), name,
                " must have r's shape, [", T, ", ", heads, ", ", D, "]");
    const std::pair<const char*, const FloatArray*> vectors[] = {
        {"k_k", &k_k}, {"k_a", &k_a}, {"r_k", &r_k}, {"weight", &weight}, {"bias", &bias}};
    for (auto [name, array] : vectors)
        require(array->ndim() == 1 && array->shape(0) == heads * D, name, " must have shape [",
                heads * D, "]");
    require(eps >= 0, "eps=", eps, " must not be negative");
    Sequences sequences(lengths, T, wkv_state_floats(heads, D), state);
    FloatArray out = like(r);
    Wkv7Args args{r.data(),
                  w.data(),
                  k.data(),
                  v.data(),
                  a.data(),
                  g.data(),
                  optional_data(v_first),
                  optional_data(m),
                  k_k.data(),
                  k_a.data(),
                  r_k.data(),
                  weight.data(),
                  bias.data(),
                  out.mutable_data(),
                  sequences.spans(),
                  sequences.count(),
                  sequences.slots(),
                  heads,
                  D,
                  eps};
    run_kernel(kernels_for(isa).wkv7, args, threads);
    return py::make_tuple(out, sequences.after());
}

void bind_wkv7(py::module_& m) {
    m.def("wkv7", &wkv7, py::arg("r"), py::arg("w"), py::arg("k"), py::arg("v"), py::arg("a"),
          py::arg("g"), py::arg("k_k"), py::arg("k_a"), py::arg("r_k"), py::arg("weight"),
          py::arg("bias"), py::arg("eps"), py::arg("v_first") = py::none(),
          py::arg("m") = py::none(), py::arg("state") = py::none(), py::arg("lengths") = py::none(),
          py::kw_only(), py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
