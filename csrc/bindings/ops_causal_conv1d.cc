#include "bindings/sequences.h"

namespace genfast {

static py::tuple causal_conv1d(const FloatArray& x, const FloatArray& weight,
                               const std::optional<FloatArray>& bias,
                               const std::optional<FloatArray>& state,
                               const std::optional<std::vector<int64_t>>& lengths,
                               const std::string& kind, const std::string& isa, int threads) {
    require(x.ndim() == 2 && weight.ndim() == 2 && weight.shape(1) == x.shape(1),
            "x must have shape [T, C] and weight [W, C]");
    const int64_t C = x.shape(1), W = weight.shape(0);
    require(W >= 2 && W <= kMaxConvWidth, "weight has a width of ", W, ", expected 2 to ",
            kMaxConvWidth);
    require(!bias || (bias->ndim() == 1 && bias->shape(0) == C), "bias must have shape [", C, "]");
    const Activation activation = activation_named(kind);
    require(activation == Activation::none || activation == Activation::silu,
            "activation must be none or silu");
    Sequences sequences(lengths, x.shape(0), conv1d_state_floats(C, W), state);
    FloatArray out = like(x);
    CausalConv1dArgs args{x.data(),
                          weight.data(),
                          optional_data(bias),
                          out.mutable_data(),
                          sequences.spans(),
                          sequences.count(),
                          sequences.slots(),
                          C,
                          W,
                          C,
                          0,
                          activation};
    run_kernel(kernels_for(isa).causal_conv1d, args, threads);
    return py::make_tuple(out, sequences.after());
}

void bind_causal_conv1d(py::module_& m) {
    m.def("causal_conv1d", &causal_conv1d, py::arg("x"), py::arg("weight"),
          py::arg("bias") = py::none(), py::arg("state") = py::none(),
          py::arg("lengths") = py::none(), py::arg("activation") = "none", py::kw_only(),
          py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
