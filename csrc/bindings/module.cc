#include "bindings/bindings.h"
#include "kernels/cuda_library.h"

namespace genfast {

void bind_activation(py::module_&);
void bind_bound(py::module_&);
void bind_attention(py::module_&);
void bind_causal_conv1d(py::module_&);
void bind_embed(py::module_&);
void bind_head_matmul(py::module_&);
void bind_engine(py::module_&);
void bind_layer_norm(py::module_&);
void bind_masks(py::module_&);
void bind_matmul(py::module_&);
void bind_moe(py::module_&);
void bind_probe(py::module_&);
void bind_program(py::module_&);
void bind_ranks(py::module_&);
void bind_rms_norm(py::module_&);
void bind_rope(py::module_&);
void bind_route(py::module_&);
void bind_sample(py::module_&);
void bind_sampler(py::module_&);
void bind_selective_scan(py::module_&);
void bind_softmax(py::module_&);
void bind_speculation(py::module_&);
void bind_static_program(py::module_&);
void bind_swiglu(py::module_&);
void bind_weight(py::module_&);
void bind_wkv4(py::module_&);
void bind_wkv6(py::module_&);
void bind_wkv7(py::module_&);

static py::dict cpu_info() {
    const CpuFeatures& cpu = cpu_features();
    py::dict info;
    info["brand"] = cpu.brand;
    info["isa"] = kernels_for().isa;
    info["isas"] = available_isas();
    info["avx512_bf16"] = cpu.avx512_bf16;
    info["amx_int8"] = cpu.amx_int8;
    info["amx_bf16"] = cpu.amx_bf16;
    info["amx_missing"] = cpu.amx_missing;
    info["neon"] = cpu.neon;
    info["dotprod"] = cpu.dotprod;
    info["i8mm"] = cpu.i8mm;
    info["threads"] = default_threads();
    return info;
}

static py::dict cuda_info() {
    const Device& device = cuda_library().device;
    py::dict info;
    info["name"] = device.name;
    info["count"] = device.count;
    info["free_bytes"] = device.free_bytes();
    return info;
}

PYBIND11_MODULE(_core, m) {
    m.doc() = "genfast's compiled part; use the genfast package";
    expect_exit();
    m.def("cpu_info", &cpu_info);
    m.def("cuda_info", &cuda_info);
    bind_weight(m);
    bind_program(m);
    bind_ranks(m);
    bind_static_program(m);
    bind_masks(m);
    bind_sampler(m);
    bind_engine(m);
    bind_speculation(m);
    py::module_ ops = m.def_submodule("ops", "each kernel alone, on numpy arrays");
    bind_activation(ops);
    bind_bound(ops);
    bind_attention(ops);
    bind_causal_conv1d(ops);
    bind_embed(ops);
    bind_head_matmul(ops);
    bind_layer_norm(ops);
    bind_matmul(ops);
    bind_moe(ops);
    bind_probe(ops);
    bind_rms_norm(ops);
    bind_rope(ops);
    bind_route(ops);
    bind_sample(ops);
    bind_selective_scan(ops);
    bind_softmax(ops);
    bind_swiglu(ops);
    bind_wkv4(ops);
    bind_wkv6(ops);
    bind_wkv7(ops);
}

}  // namespace genfast
