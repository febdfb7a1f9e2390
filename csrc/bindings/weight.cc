#include "bindings/bindings.h"
#include "io/checksum.h"
#include "program/packed_matrix.h"
#include "quant/unpack.h"

namespace genfast {
namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;
using SourceTuple = std::tuple<Bytes, std::string, int64_t, int64_t, bool>;

DType dtype_named(const std::string& name) {
    if (name == "F32") return DType::f32;
    if (name == "F16") return DType::f16;
    if (name == "BF16") return DType::bf16;
    throw std::invalid_argument(cat("dtype \"", name, "\" must be one of F32, F16, BF16"));
}

// rows * cols elements must fit the array, whatever numbers a file claims.
void check_extent(const Bytes& data, DType dtype, int64_t rows, int64_t cols) {
    require(rows > 0 && cols > 0, "a source must have rows and columns, found [", rows, ", ", cols,
            "]");
    const int64_t elements = int64_t(data.size()) / itemsize(dtype);
    require(cols <= elements / rows && rows * cols == elements &&
                elements * itemsize(dtype) == int64_t(data.size()),
            "a source of shape [", rows, ", ", cols, "] does not match its ", data.size(),
            " bytes");
}

std::shared_ptr<PackedMatrix> pack(const std::string& format,
                                   const std::vector<SourceTuple>& sources, int threads, bool gated,
                                   const std::string& isa, bool mapped) {
    std::vector<WeightSource> list;
    for (const auto& [data, dtype, rows, cols, transposed] : sources) {
        list.push_back({data.data(), dtype_named(dtype), rows, cols, transposed});
        check_extent(data, list.back().dtype, rows, cols);
    }
    Format packed = format_from_name(format);
    ThreadPool& pool = pool_of(threads);
    const Kernels& kernels = kernels_for(isa);
    WithoutGil release;
    return std::make_shared<PackedMatrix>(
        PackedMatrix::pack(packed, list, gated, pool, kernels, mapped));
}

// Keeps the array alive. The last reference may be dropped by any thread: take the GIL for it.
std::shared_ptr<const void> owner_of(const Bytes& array) {
    return {new Bytes(array), [](const void* held) {
                py::gil_scoped_acquire acquire;
                delete static_cast<const Bytes*>(held);
            }};
}

std::shared_ptr<PackedMatrix> panels(const Bytes& data, const std::string& format, int64_t N,
                                     int64_t K, bool gated) {
    return std::make_shared<PackedMatrix>(PackedMatrix::panels(
        format_from_name(format), N, K, gated, data.data(), size_t(data.size()), owner_of(data)));
}

std::shared_ptr<PackedMatrix> rows(const Bytes& data, const std::string& dtype, int64_t N,
                                   int64_t K) {
    DType type = dtype_named(dtype);
    check_extent(data, type, N, K);
    return std::make_shared<PackedMatrix>(
        PackedMatrix::rows(data.data(), type, N, K, owner_of(data)));
}

// The packed bytes, which live as long as the array does.
py::array bytes_of(const std::shared_ptr<PackedMatrix>& weight) {
    py::array view(py::dtype::of<uint8_t>(), {py::ssize_t(weight->nbytes())}, {1},
                   weight->view().data, py::cast(weight));
    py::detail::array_proxy(view.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return view;
}

// Four words for each begun chunk of the array, as bytes (io/checksum.h).
py::bytes checksum_of(const Bytes& data, int threads) {
    ThreadPool& pool = pool_of(threads);
    std::vector<Digest> sums;
    {
        WithoutGil release;
        sums = checksum(reinterpret_cast<const std::byte*>(data.data()), size_t(data.size()), pool);
    }
    return py::bytes(reinterpret_cast<const char*>(sums.data()), sums.size() * sizeof(Digest));
}

FloatArray unpack(const PackedMatrix& weight) {
    const Matrix& view = weight.view();
    FloatArray out({view.N, view.K});
    float* data = out.mutable_data();
    WithoutGil release;
    for (int64_t n = 0; n < view.N; ++n) unpack_row(view, n, 0, view.K, data + n * view.K);
    return out;
}

}  // namespace

void bind_weight(py::module_& m) {
    py::class_<PackedMatrix, std::shared_ptr<PackedMatrix>>(
        m, "Weight", "A matrix [N, K], packed into the panels that matmul streams.")
        .def(py::init(&pack), py::arg("format"), py::arg("sources"), py::arg("threads") = 0,
             py::arg("gated") = false, py::arg("isa") = "", py::arg("mapped") = false)
        .def_static("panels", &panels, py::arg("array"), py::arg("format"), py::arg("N"),
                    py::arg("K"), py::arg("gated"))
        .def_static("rows", &rows, py::arg("array"), py::arg("dtype"), py::arg("N"), py::arg("K"))
        .def("unpack", &unpack)
        .def_property_readonly("data", &bytes_of)
        .def_property_readonly("format",
                               [](const PackedMatrix& w) { return traits(w.view().format).name; })
        .def_property_readonly("N", [](const PackedMatrix& w) { return w.view().N; })
        .def_property_readonly("K", [](const PackedMatrix& w) { return w.view().K; })
        .def_property_readonly("nbytes", &PackedMatrix::nbytes);
    m.def("checksum", &checksum_of, py::arg("array"), py::arg("threads") = 0);
    m.attr("LAYOUT_VERSION") = kLayoutVersion;
}

}  // namespace genfast
