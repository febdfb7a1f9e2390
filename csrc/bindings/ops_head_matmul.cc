#include "bindings/bindings.h"
#include "program/packed_matrix.h"

namespace genfast {

static FloatArray head_matmul(const FloatArray& x, const std::vector<PackedMatrix*>& weights,
                              int64_t first, const std::string& isa, int threads) {
    require(x.ndim() == 2, "x must have shape [T, columns]");
    require(!weights.empty(), "there are no heads");
    const Matrix& w = weights[0]->view();
    std::vector<Matrix> matrices;
    for (const PackedMatrix* weight : weights) {
        const Matrix& mine = weight->view();
        require(mine.N == w.N && mine.K == w.K && mine.format == w.format && !mine.gated,
                "every head's weight must be [", w.N, ", ", w.K, "] of the same format");
        matrices.push_back(mine);
    }
    const int64_t heads = int64_t(weights.size());
    require(first >= 0 && first + heads * w.K <= x.shape(1), heads, " heads of ", w.K,
            " from column ", first, " do not fit x's ", x.shape(1), " columns");
    FloatArray out({x.shape(0), py::ssize_t(heads * w.N)});
    const Kernels& kernels = kernels_for(isa);
    HeadMatmulArgs args{x.data(),   matrices.data(), out.mutable_data(), nullptr,
                        x.shape(0), heads,           x.shape(1),         first};
    args.scratch =
        scratch_of(kernels.head_matmul_scratch_bytes(w, x.shape(0), pool_of(threads).size()));
    run_kernel(kernels.head_matmul, args, threads);
    return out;
}

void bind_head_matmul(py::module_& m) {
    m.def("head_matmul", &head_matmul, py::arg("x"), py::arg("weights"), py::arg("first") = 0,
          py::kw_only(), py::arg("isa") = "", py::arg("threads") = 0);
}

}  // namespace genfast
