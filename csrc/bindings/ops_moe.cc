#include "bindings/bindings.h"
#include "program/packed_matrix.h"

namespace genfast {

static FloatArray moe(const FloatArray& x, const FloatArray& routes,
                      const std::vector<std::pair<PackedMatrix*, PackedMatrix*>>& experts,
                      const std::optional<FloatArray>& residual,
                      const std::optional<FloatArray>& up_bias,
                      const std::optional<FloatArray>& down_bias, const std::string& activation,
                      const std::string& isa, int threads) {
    require(x.ndim() == 2 && routes.ndim() == 2 && routes.shape(0) == x.shape(0) &&
                routes.shape(1) % 2 == 0,
            "x must have shape [T, E], routes [T, 2k]");
    require(!experts.empty(), "there are no experts");
    std::vector<Matrix> matrices;
    for (auto [up, down] : experts) {
        require(up->view().gated && up->view().K == x.shape(1) && down->view().N == x.shape(1) &&
                    down->view().K == outputs(up->view()),
                "an expert's gate and up must be gated [2F, E], its down [E, F], E = ", x.shape(1));
        matrices.push_back(up->view());
        matrices.push_back(down->view());
    }
    const int64_t T = x.shape(0), k = routes.shape(1) / 2;
    for (int64_t t = 0; t < T; ++t)
        for (int64_t i = 0; i < k; ++i)
            require(routes.at(t, i) >= 0 && routes.at(t, i) < float(experts.size()),
                    "routes name expert ", routes.at(t, i), ", there are ", experts.size());
    require(!residual || (residual->ndim() == 2 && residual->shape(0) == T &&
                          residual->shape(1) == x.shape(1)),
            "residual must have x's shape");
    const int64_t X = int64_t(experts.size());
    require(!up_bias || up_bias->size() == X * matrices[0].N, "up_bias must have shape [", X, ", ",
            matrices[0].N, "]");
    require(!down_bias || down_bias->size() == X * x.shape(1), "down_bias must have shape [", X,
            ", ", x.shape(1), "]");
    FloatArray out = like(x);
    ThreadPool& pool = pool_of(threads);
    MoeArgs args{x.data(),
                 routes.data(),
                 optional_data(residual),
                 out.mutable_data(),
                 nullptr,
                 matrices.data(),
                 T,
                 X,
                 k,
                 activation_named(activation),
                 optional_data(up_bias),
                 optional_data(down_bias)};
    const Kernels& kernels = kernels_for(isa);
    Buffer scratch(kernels.moe_scratch_bytes(args, pool.size()));
    args.scratch = scratch.data();
    run_kernel(kernels.moe, args, threads);
    return out;
}

void bind_moe(py::module_& m) {
    m.def("moe", &moe, py::arg("x"), py::arg("routes"), py::arg("experts"),
          py::arg("residual") = std::nullopt, py::kw_only(), py::arg("up_bias") = std::nullopt,
          py::arg("down_bias") = std::nullopt, py::arg("activation") = "silu", py::arg("isa") = "",
          py::arg("threads") = 0);
}

}  // namespace genfast
