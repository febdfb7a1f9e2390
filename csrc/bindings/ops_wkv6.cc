#include "bindings/sequences.h"

namespace genfast {

static py::tuple wkv6(const FloatArray& r, const FloatArray& k, const FloatArray& v,
                      const FloatArray& g, const FloatArray& w, const FloatArray& u,
                      const FloatArray& weight, const FloatArray& bias, float eps,
                      const std::optional<FloatArray>& state,
                      const std::optional<std::vector<int64_t>>& lengths, const std::string& isa,
                      int threads) {
    require(r.ndim() == 3 && r.shape(1) > 0 && r.shape(2) > 0 && r.shape(2) <= kMaxWkvHead,
            "r must have shape [T, H, D], D at most ", kMaxWkvHead);
    const int64_t T = r.shape(0), heads = r.shape(1), D = r.shape(2);
    const bool alike = w.ndim() == 1;  // for all tokens
    const std::pair<const char*, const FloatArray*> columns[] = {
        {"k", &k}, {"v", &v}, {"g", &g}, {"w", alike ? &r : &w}};
    for (auto [name, array] : columns)
        require(array->ndim() == 3 && std::equal(r.shape(), r.shape() + 3, array->shape()), name,
                " must have r's shape, [", T, ", ", heads, ", ", D, "]");
    const std::pair<const char*, const FloatArray*> vectors[] = {
        {"u", &u}, {"w", alike ? &w : &u}, {"weight", &weight}, {"bias", &bias}};
    for (auto [name, array] : vectors)
        require(array->ndim() == 1 && array->shape(0) == heads * D, name, " must have shape [",
                heads * D, "]");
    require(eps >= 0, "eps=", eps, " must not be negative");
    Sequences sequences(lengths, T, wkv_state_floats(heads, D), state);
    FloatArray out = like(r);
    Wkv6Args args{r.data(),
                  w.data(),
                  k.data(),
                  v.data(),
                  g.data(),
                  u.data(),
                  weight.data(),
                  bias.data(),
                  out.mutable_data(),
                  sequences.spans(),
                  sequences.count(),
                  sequences.slots(),
                  heads,
                  D,
                  alike ? 0 : heads * D,
                  eps};
    run_kernel(kernels_for(isa).wkv6, args, threads);
    return py::make_tuple(out, sequences.after());
}

void bind_wkv6(py::module_& m) {
    m.def("wkv6", &wkv6, py::arg("r"), py::arg("k"), py::arg("v"), py::arg("g"), py::arg("w"),
          py::arg("u"), py::arg("weight"), py::arg("bias"), py::arg("eps"),
          py::arg("state") = py::none(), py::arg("lengths") = py::none(), py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
